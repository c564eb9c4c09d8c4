"""PFT's files.

Source: github.com/LabShuHangGU/PFT-SR at 7d4a6874, basicsr/archs/pft_arch.py.
"""

from srlab.checkpoints.layouts.atd import (
    BLOCK,
    CONVOLUTIONAL_NAMES,
    ConvolutionalFrameLayout,
    bias_table,
    detect_convolutional_frame,
)
from srlab.checkpoints.layouts.layout import Detected, State
from srlab.models.pft import PFT

_LIGHT_DEPTHS = [2, 4, 6, 6, 6]
_LIGHT_KEPT = [1024] * 2 + [256] * 4 + [128] * 6 + [64] * 6 + [32] * 6


class PftLayout(ConvolutionalFrameLayout):
    """The same network with other names."""

    network = PFT
    landmarks = (bias_table(0), f"{BLOCK.format(0, 0)}.v_LePE.depthwise_conv.0.weight", "conv_first.weight")
    names = (
        *CONVOLUTIONAL_NAMES,
        (".wqkv.", ".attention.qkv."),
        (".v_LePE.depthwise_conv.0.", ".attention.local."),
        (".attn_win.relative_position_bias_table", ".attention.position_bias.table"),
        (".attn_win.proj.", ".attention.proj."),
    )

    def detect(self, state: State) -> Detected:
        """Shifts, kept tokens and the colour range leave no trace, heads that share their bias neither."""
        frame = detect_convolutional_frame(state)
        heads, side, depths = state[bias_table(0)].shape[1], frame["window_size"], frame["depths"]
        published = (depths, side) == (_LIGHT_DEPTHS, 32)
        arguments = {
            **frame,
            "num_heads": 4 if heads == 1 else heads,
            "kept_tokens": _LIGHT_KEPT if published else [side**2] * sum(depths),
            "share_bias": heads == 1,
        }
        shared = ("num_heads",) if heads == 1 else ()
        return arguments, (*shared, "kept_tokens", "mean", "value_range", "shift_schedule")
