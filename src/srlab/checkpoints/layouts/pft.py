"""PFT's files: SwinIR's frame around other blocks.

Source: github.com/LabShuHangGU/PFT-SR at 7d4a6874, basicsr/archs/pft_arch.py.
"""

import math

from torch import Tensor

from srlab.checkpoints.layouts.keys import rename_all
from srlab.checkpoints.layouts.layout import Detected, OfficialLayout, State
from srlab.checkpoints.layouts.swinir import FRAME_NAMES, detect_frame
from srlab.models.network import Network
from srlab.models.pft import PFT
from srlab.ops.attention import relative_position_index

_BLOCK = "layers.0.residual_group.layers.0"
_TABLE = f"{_BLOCK}.attn_win.relative_position_bias_table"
_INDEX = "relative_position_index_SA"
_LIGHT_DEPTHS = [2, 4, 6, 6, 6]
_LIGHT_KEPT = [1024] * 2 + [256] * 4 + [128] * 6 + [64] * 6 + [32] * 6


class PftLayout(OfficialLayout):
    """Files hold the index of position biases, too, which can be derived."""

    network = PFT
    landmarks = (_TABLE, f"{_BLOCK}.v_LePE.depthwise_conv.0.weight", "conv_first.weight")
    names = (
        ("layers.{}.residual_group.layers.", "layers.{}.residual_group.blocks."),
        *FRAME_NAMES,
        (".convffn.fc1.", ".mlp.expand."),
        (".convffn.fc2.", ".mlp.contract."),
        (".convffn.dwconv.depthwise_conv.0.", ".mlp.local."),
        (".wqkv.", ".attention.qkv."),
        (".v_LePE.depthwise_conv.0.", ".attention.local."),
        (".attn_win.relative_position_bias_table", ".attention.position_bias.table"),
        (".attn_win.proj.", ".attention.proj."),
    )

    def detect(self, state: State) -> Detected:
        """Shifts, kept tokens and the colour range leave no trace, heads that share their bias neither."""
        alike = {
            key.replace(".residual_group.layers.", ".residual_group.blocks.").replace(
                ".convffn.", ".mlp."
            ): value
            for key, value in state.items()
        }
        frame = detect_frame(alike)
        rows, heads = state[_TABLE].shape
        side, depths = (math.isqrt(rows) + 1) // 2, frame["depths"]
        published = (depths, side) == (_LIGHT_DEPTHS, 32)
        arguments = {
            **frame,
            "num_heads": 4 if heads == 1 else heads,
            "window_size": side,
            "kept_tokens": _LIGHT_KEPT if published else [side**2] * sum(depths),
            "share_bias": heads == 1,
            "kernel_side": state[self.landmarks[1]].shape[-1],
            "shift_schedule": "alternate",
        }
        shared = ("num_heads",) if heads == 1 else ()
        return arguments, (*shared, "kept_tokens", "mean", "value_range", "shift_schedule")

    def to_ours(self, state: State) -> dict[str, Tensor]:
        """Without the index."""
        return rename_all({key: value for key, value in state.items() if key != _INDEX}, self.names)

    def from_ours(self, network: Network) -> dict[str, Tensor]:
        """With the index."""
        index = relative_position_index(network.size_multiple, next(network.parameters()).device)
        return super().from_ours(network) | {_INDEX: index}


OFFICIAL = PftLayout()
