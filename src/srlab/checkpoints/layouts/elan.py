"""ELAN's files: the authors' and FriedRiceLab's.

Sources: github.com/xindongzhang/ELAN at 97ab3fa0; modelzoo/ELAN of github.com/Fried-Rice-Lab/FriedRiceLab at
e4340dcd (branch rssr). Files of its later commits and of github.com/the-database/traiNNer-redux have the
authors' keys.
"""

import math

from torch import Tensor

from srlab.checkpoints.layouts.keys import count_numbered, rename, reverse
from srlab.checkpoints.layouts.layout import Detected, Layout, MeanShiftLayout, State
from srlab.checkpoints.layouts.mean_shift import stored_mean_shift
from srlab.models.elan import ELAN
from srlab.models.network import Network
from srlab.ops.shift import shift_kernel


class ElanLayout(MeanShiftLayout):
    """Mean shifts and shift kernels are frozen parameters there, constants here."""

    network = ELAN
    containers = ("model_state_dict",)
    prefix = "module."
    landmarks = ("body.0.modules_lfe.lfe_0.conv0.shift_conv.conv1x1.weight", "tail.0.weight")
    names = (
        ("head.0.", "head."),
        ("tail.0.", "tail."),
        (".modules_lfe.lfe_{}.conv0.shift_conv.conv1x1.", ".local.{}.expand.mix."),
        (".modules_lfe.lfe_{}.conv1.shift_conv.conv1x1.", ".local.{}.contract.mix."),
        (".modules_gmsa.gmsa_{}.project_inp.0.", ".attention.{}.project."),
        (".modules_gmsa.gmsa_{}.project_inp.1.", ".attention.{}.norm."),
        (".modules_gmsa.gmsa_{}.project_out.", ".attention.{}.mix."),
    )

    def detect(self, state: State) -> Detected:
        """Windows have no weights of their own; nor has a mean shift that is left out."""
        n_share = count_numbered(state, "body.0.modules_gmsa.gmsa_") - 1
        blocks = count_numbered(state, "body.")
        hidden, dim = state[self.landmarks[0]].shape[:2]
        shift = stored_mean_shift(state)
        arguments = {
            "scale": math.isqrt(state["tail.0.weight"].shape[0] // 3),
            "dim": dim,
            "depth": blocks * (1 + n_share),
            "n_share": n_share,
            "window_sizes": [4, 8, 16],
            "expansion": hidden // dim,
            "shift_schedule": "alternate",
            "backend": "auto",
            "mean": list(shift.mean),
            "value_range": shift.value_range,
        }
        color = () if shift.is_known else ("mean", "value_range")
        return arguments, ("window_sizes", "shift_schedule", *color)

    def frozen(self, state: State) -> dict[str, Tensor]:
        """Mean shifts and shift kernels."""
        kernels = [key for key in state if key.endswith(".shift_conv.weight")]
        return super().frozen(state) | {key: shift_kernel(len(state[key])) for key in kernels}

    def constants(self, network: Network) -> dict[str, Tensor]:
        """Mean shifts and shift kernels."""
        constants = super().constants(network)
        for name, weight in network.named_parameters():
            key = rename(name, reverse(self.names))
            if key.endswith("conv1x1.weight"):
                constants[key.replace(".conv1x1", "")] = shift_kernel(weight.shape[1]).to(weight)
        return constants


_LOCAL, _LOCAL_OFFICIAL = "body.{}.modules_lfe.{}.lfe", "body.{}.modules_lfe.lfe_{}"

FRIED_RICE = Layout(
    name="FriedRiceLab's ELAN",
    official=ElanLayout(),
    landmarks=("body.0.modules_lfe.0.lfe.0.weight", "head.weight", "tail.0.weight"),
    names=(
        ("head.*", "head.0.*"),
        (f"{_LOCAL}.0.mask", f"{_LOCAL_OFFICIAL}.conv0.shift_conv.weight"),
        (f"{_LOCAL}.0.*", f"{_LOCAL_OFFICIAL}.conv0.shift_conv.conv1x1.*"),
        (f"{_LOCAL}.2.mask", f"{_LOCAL_OFFICIAL}.conv1.shift_conv.weight"),
        (f"{_LOCAL}.2.*", f"{_LOCAL_OFFICIAL}.conv1.shift_conv.conv1x1.*"),
        (".modules_gmsa.{}.", ".modules_gmsa.gmsa_{}."),
    ),
)
