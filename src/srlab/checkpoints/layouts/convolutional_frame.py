"""What files of PFT and ATD have in common: SwinIR's frame, feed-forward networks with a convolution.

Source: github.com/LabShuHangGU/PFT-SR at 7d4a6874 and github.com/LabShuHangGU/Adaptive-Token-Dictionary at
d25fd845.
"""

import math
from typing import Any

from torch import Tensor

from srlab.checkpoints.layouts.keys import Names, rename_all
from srlab.checkpoints.layouts.layout import OfficialLayout, State
from srlab.checkpoints.layouts.swinir import FRAME_NAMES, detect_frame
from srlab.models.network import Network
from srlab.ops.attention import relative_position_index

#: A block, up to its parts' names.
BLOCK = "layers.{}.residual_group.layers.{}"
_INDEX = "relative_position_index_SA"

#: Keys of the frame and of the feed-forward networks.
CONVOLUTIONAL_NAMES: Names = (
    ("layers.{}.residual_group.layers.", "layers.{}.residual_group.blocks."),
    *FRAME_NAMES,
    (".convffn.fc1.", ".mlp.expand."),
    (".convffn.fc2.", ".mlp.contract."),
    (".convffn.dwconv.depthwise_conv.0.", ".mlp.local."),
)


class ConvolutionalFrameLayout(OfficialLayout):
    """Files hold the index of position biases, too, which can be derived."""

    def to_ours(self, state: State) -> dict[str, Tensor]:
        """Without the index."""
        return rename_all({key: value for key, value in state.items() if key != _INDEX}, self.names)

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
