"""EDSR's files: BasicSR's, EDSR-PyTorch's (the authors') and MMagic's; what HAN's and NLSN's share with them.

Sources: github.com/XPixelGroup/BasicSR at 8d56e3a0; github.com/sanghyun-son/EDSR-PyTorch at 3dd71ae5,
src/model/edsr.py and common.py (RGB in 0..255, mean shifts are stored); github.com/open-mmlab/mmagic at
58380b2d, mmagic/models/editors/edsr/edsr_net.py (before: mmediting; its configurations divide RGB by 255).
"""

from abc import ABC
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from srlab.checkpoints.layouts.keys import count_numbered
from srlab.checkpoints.layouts.layout import (
    Detected,
    Layout,
    MeanShiftLayout,
    OfficialLayout,
    State,
    shuffled_scale,
)
from srlab.checkpoints.layouts.mean_shift import stored_mean_shift
from srlab.layers.color import RGB_MEAN
from srlab.models.edsr import EDSR
from srlab.models.network import Network


def detect_frame(state: State) -> dict[str, Any]:
    """Arguments of :class:`srlab.models.residual_cnn.ResidualCNN`, with the published colour range."""
    return {
        "scale": shuffled_scale(state, "upsample"),
        "dim": state["conv_first.weight"].shape[0],
        "value_range": 255.0,
        "mean": list(RGB_MEAN),
    }


class EdsrLayout(OfficialLayout):
    """The keys are ours."""

    network = EDSR
    landmarks = ("body.0.conv1.weight", "conv_first.weight", "conv_after_body.weight", "upsample.0.weight")

    def detect(self, state: State) -> Detected:
        """Factors have no weights."""
        frame, depth = detect_frame(state), count_numbered(state, "body.")
        # the published large network scales its residuals, the baseline does not
        residual_scale = 0.1 if (frame["dim"], depth) == (256, 32) else 1.0
        arguments = {**frame, "depth": depth, "residual_scale": residual_scale}
        return arguments, ("residual_scale", "mean", "value_range")


class EdsrPytorchLayout(MeanShiftLayout, ABC):
    """Bare state dicts, named as in EDSR-PyTorch."""

    containers = ()
    #: Of what surrounds the modules of the body, which come before.
    names = (
        ("head.0.*", "conv_first.*"),
        ("body.{}.*", "conv_after_body.*"),
        ("tail.0.{}.*", "upsample.{}.*"),
        ("tail.1.*", "conv_last.*"),
    )

    def detect_frame(self, state: State) -> Detected:
        """Scale, channels, and what the mean shift says of colour and range."""
        shift = stored_mean_shift(state)
        arguments = {
            "scale": shuffled_scale(state, "tail.0"),
            "dim": state["head.0.weight"].shape[0],
            "value_range": shift.value_range,
            "mean": list(shift.mean),
        }
        return arguments, () if shift.is_known else ("mean", "value_range")

    def from_ours(self, network: Network) -> dict[str, Tensor]:
        """Convolutions after a sequence of modules have the next number there, which names give as ``N``."""
        state = super().from_ours(network)
        numbered = [key for key in state if ".N." not in key]
        return {_numbered(key, numbered): value for key, value in state.items()}


def _numbered(key: str, others: Sequence[str]) -> str:
    """``key`` with the number of modules before it in place of ``N``."""
    before, found, after = key.partition(".N.")
    return f"{before}.{count_numbered(others, f'{before}.')}.{after}" if found else key


EDSR_PYTORCH = Layout(
    name="EDSR-PyTorch's EDSR",
    official=EdsrLayout(),
    landmarks=("body.0.body.0.weight", "head.0.weight", "tail.0.0.weight", "tail.1.weight"),
    names=(
        ("body.{}.body.0.*", "body.{}.conv1.*"),
        ("body.{}.body.2.*", "body.{}.conv2.*"),
        *EdsrPytorchLayout.names,
    ),
    shifts_mean=True,
)
MMAGIC = Layout(
    name="MMagic's EDSR",
    official=EdsrLayout(),
    landmarks=(
        "upsample.0.upsample_conv.weight",
        "body.0.conv1.weight",
        "conv_first.weight",
        "conv_after_body.weight",
    ),
    # each pixel shuffle is a module with its convolution there, two modules in a row here
    names=tuple((f"upsample.{stage}.upsample_conv.*", f"upsample.{2 * stage}.*") for stage in range(5)),
    arguments={"value_range": 1.0},
)
