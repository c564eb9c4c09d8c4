"""EchoSR's files.

Source: github.com/funnyWang-Echoes/EchoSR at 09999643.
"""

import math

from srlab.checkpoints.layouts.keys import count_numbered
from srlab.checkpoints.layouts.layout import Detected, OfficialLayout, State
from srlab.layers.color import RGB_MEAN
from srlab.models.echosr import EchoSR

_FIRST = "layers.0.residual_group.blocks.0"
_BRANCHES = ("dwconv_hw", "dwconv_w", "dwconv_h")


class EchoSRLayout(OfficialLayout):
    """The same network with other names."""

    network = EchoSR
    landmarks = (f"{_FIRST}.ISBlock.dwconv_hw.weight", "conv_first.weight", "upsample.0.weight")
    names = (
        ("layers.{}.residual_group.blocks.", "layers.{}.blocks."),
        ("layers.{}.conv.conv0.0.", "layers.{}.fusion.expand."),
        ("layers.{}.conv.att.", "layers.{}.fusion.gate."),
        ("layers.{}.conv.conv1.", "layers.{}.fusion.contract."),
        ("layers.", "groups."),
        ("upsample.", "head.upsample."),
        (".norm1.", ".norm_in."),
        (".norm2.", ".norm_mixed."),
        (".skip_scale", ".context_scale"),
        (".CEB.", ".local."),
        (".EGEM.dw_conv.", ".context.local."),
        (".EGEM.conv_1.", ".context.mix."),
        (".EGEM.alpha", ".context.maximum_scale"),
        (".EGEM.belt", ".context.variance_scale"),
        *((f".ISBlock.{name}.", f".branches.convolutions.{at}.") for at, name in enumerate(_BRANCHES)),
        (".CAFFN.fc1.", ".feed_forward.expand."),
        (".CAFFN.fc2.", ".feed_forward.contract."),
        (".CAFFN.dwconv.", ".feed_forward.local."),
        (".CAFFN.sigma.scale", ".feed_forward.sigma"),
        (".CAFFN.decompose.", ".feed_forward.decompose."),
    )

    def detect(self, state: State) -> Detected:
        """Dropout and the colour range leave no trace."""
        dim, hidden = state["conv_first.weight"].shape[0], state[f"{_FIRST}.CAFFN.fc1.weight"].shape[0]
        groups = range(count_numbered(state, "layers."))
        arguments = {
            "scale": math.isqrt(state["upsample.0.weight"].shape[0] // 3),
            "dim": dim,
            "depths": [count_numbered(state, f"layers.{group}.residual_group.blocks.") for group in groups],
            "kernel_sides": [state[f"{_FIRST}.ISBlock.{name}.weight"].shape[-1] for name in _BRANCHES],
            "mlp_ratio": hidden / dim,
            "dropout": 0.1,
            "value_range": 1.0,
            "mean": list(RGB_MEAN),
        }
        return arguments, ("dropout", "mean", "value_range")
