"""ATD's files, and their common part with PFT's: SwinIR's frame, feed-forward networks with a convolution.

Source: github.com/LabShuHangGU/Adaptive-Token-Dictionary at d25fd845, basicsr/archs/atd_arch.py.
"""

import math
from typing import Any

from torch import Tensor

from srlab.checkpoints.layouts.keys import Names
from srlab.checkpoints.layouts.layout import Detected, OfficialLayout, State
from srlab.checkpoints.layouts.swinir import FRAME_NAMES, detect_frame
from srlab.models.atd import ATD
from srlab.models.network import Network
from srlab.ops.attention import relative_position_index

#: A block, up to its parts' names.
BLOCK = "layers.{}.residual_group.layers.{}"
_INDEX = "relative_position_index_SA"
_QUERY = f"{BLOCK.format(0, 0)}.attn_atd.wq.weight"
_DICTIONARY = "layers.0.residual_group.td"

#: Keys of the frame and of the feed-forward networks.
CONVOLUTIONAL_NAMES: Names = (
    ("layers.{}.residual_group.layers.", "layers.{}.residual_group.blocks."),
    *FRAME_NAMES,
    (".convffn.fc1.", ".mlp.expand."),
    (".convffn.fc2.", ".mlp.contract."),
    (".convffn.dwconv.depthwise_conv.0.", ".mlp.local."),
)


class ConvolutionalFrameLayout(OfficialLayout):
    """Files hold the index of position biases, too."""

    derivable = (_INDEX,)

    def from_ours(self, network: Network) -> dict[str, Tensor]:
        """With the index."""
        index = relative_position_index(network.size_multiple, next(network.parameters()).device)
        return super().from_ours(network) | {_INDEX: index}


def bias_table(group: int) -> str:
    """The key of the position biases of a group's first block, ((2S - 1) * (2S - 1), heads)."""
    return f"{BLOCK.format(group, 0)}.attn_win.relative_position_bias_table"


def detect_convolutional_frame(state: State) -> dict[str, Any]:
    """Arguments of the frame, kernels, windows, and the published shifts."""
    alike = {
        key.replace(".residual_group.layers.", ".residual_group.blocks.").replace(".convffn.", ".mlp."): value
        for key, value in state.items()
    }
    kernel = state[f"{BLOCK.format(0, 0)}.convffn.dwconv.depthwise_conv.0.weight"]
    return {
        **detect_frame(alike),
        "window_size": (math.isqrt(state[bias_table(0)].shape[0]) + 1) // 2,
        "kernel_side": kernel.shape[-1],
        "shift_schedule": "alternate",
    }


class AtdLayout(ConvolutionalFrameLayout):
    """The same network with other names."""

    network = ATD
    landmarks = (bias_table(0), _QUERY, _DICTIONARY)
    names = (
        ("layers.{}.residual_group.td", "dictionaries.{}"),
        *CONVOLUTIONAL_NAMES,
        (".wqkv.", ".qkv."),
        (".norm3.", ".refinement.norm."),
        (".sigma", ".refinement.gate"),
        (".attn_win.relative_position_bias_table", ".windows.position_bias.table"),
        (".attn_win.proj.", ".windows.proj."),
        (".attn_aca.logit_scale", ".categories.log_factor"),
        (".attn_aca.proj.", ".categories.proj."),
        (".attn_atd.scale", ".entries.sharpness"),
        (".attn_atd.wq.", ".entries.query."),
        (".attn_atd.wk.", ".entries.key."),
        (".attn_atd.wv.", ".entries.value."),
    )

    def detect(self, state: State) -> Detected:
        """Shifts, sizes of categories and the colour range leave no trace."""
        frame = detect_convolutional_frame(state)
        arguments = {
            **frame,
            "num_heads": [state[bias_table(group)].shape[1] for group in range(len(frame["depths"]))],
            "category_size": 128,
            "dictionary_size": state[_DICTIONARY].shape[0],
            "query_dim": state[_QUERY].shape[0],
        }
        return arguments, ("category_size", "mean", "value_range", "shift_schedule")
