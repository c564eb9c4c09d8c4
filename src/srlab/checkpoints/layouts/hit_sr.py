"""HiT-SR's files: SwinIR's frame around other blocks.

Source: github.com/XiangZ-0/HiT-SR at 8f59218a.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from srlab.checkpoints.layouts.layout import Detected, OfficialLayout, State
from srlab.checkpoints.layouts.swinir import BLOCK, FRAME_NAMES, detect_frame
from srlab.models.hit_sr import MERGED_SIZE, HiTSR
from srlab.models.network import Network
from srlab.ops.attention import relative_position_index

_FIRST = BLOCK.format(0, 0)
_CONTEXT = ".correlation.ngram_window_partition.ngram_context"


class HiTSRLayout(OfficialLayout):
    """Files of HiT-SNG hold derivable indices, too."""

    network = HiTSR
    landmarks = (
        f"{_FIRST}.correlation.qv.linear.weight",
        "conv_first.weight",
        f"{_FIRST}.mlp.fc1.weight",
    )
    names = (
        *FRAME_NAMES,
        (".mlp.fc1.", ".mlp.expand."),
        (".mlp.fc2.", ".mlp.contract."),
        (".mlp.dwconv.depthwise_conv.0.", ".mlp.local."),
        (".correlation.qv.conv.", ".correlation.features.bottleneck."),
        (".correlation.qv.linear.", ".correlation.features.gate."),
        (".correlation.spatial_linear.", ".correlation.merge."),
        (".correlation.pos.pos_proj.", ".correlation.position_bias.embed."),
        (".correlation.pos.pos", ".correlation.position_bias.stage"),
        (f"{_CONTEXT}.unigram_embed.", ".correlation.context.embed."),
        (f"{_CONTEXT}.ngram_attn.relative_position_bias_", ".correlation.context.position_bias."),
        (f"{_CONTEXT}.ngram_attn.", ".correlation.context.attention_"),
        (f"{_CONTEXT}.merge.", ".correlation.context.merge."),
    )
    derivable = ("*relative_position_index",)

    def detect(self, state: State) -> Detected:
        """The colour range leaves no trace; windows of 8 and less look the same without a context."""
        frame = detect_frame(state)
        blocks = [BLOCK.format(group, 0) for group in range(len(frame["depths"]))]
        convolves = any(".mlp.dwconv." in key for key in state)
        arguments = {
            **frame,
            "num_heads": [state[f"{block}.correlation.pos.pos3.2.weight"].shape[0] for block in blocks],
            "window_sizes": _detect_windows(state, frame["depths"]),
            "feed_forward": "convolution" if convolves else "linear",
            "window_context": _has_context(state),
            "shift_schedule": "none",
        }
        small = any(key.endswith("spatial_linear.weight") and state[key].shape[1] == 1 for key in state)
        windows = ("window_sizes",) if small and not _has_context(state) else ()
        return arguments, (*windows, "mean", "value_range", "shift_schedule")

    def from_ours(self, network: Network) -> dict[str, Tensor]:
        """With the indices."""
        state = super().from_ours(network)
        for key, table in list(state.items()):
            if key.endswith("relative_position_bias_table"):
                state[key.replace("_bias_table", "_index")] = relative_position_index(2, table.device)
        return state


def _has_context(state: State) -> bool:
    return any(_CONTEXT in key for key in state)


def _detect_windows(state: State, depths: Sequence[int]) -> list[int]:
    """Window size at each position, in the deepest group; where files do not determine it, as published."""
    windows = []
    for position in range(max(depths)):
        block = BLOCK.format(list(depths).index(max(depths)), position)
        merged = state[f"{block}.correlation.spatial_linear.weight"].shape[1]
        likely = 4 if merged == 1 and position == 0 else MERGED_SIZE * math.isqrt(merged)
        embed = state.get(f"{block}{_CONTEXT}.unigram_embed.weight")
        windows.append(likely if embed is None else embed.shape[-1])
    return windows
