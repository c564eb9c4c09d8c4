"""SwinIR's files, and the common part of files of networks in its frame.

Source: github.com/JingyunLiang/SwinIR at 65458505.
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from srlab.checkpoints.layouts.keys import Names, count_numbered
from srlab.checkpoints.layouts.layout import Detected, OfficialLayout, State, shuffled_scale
from srlab.layers.color import RGB_MEAN
from srlab.models.network import Network
from srlab.models.swinir import SwinBlock, SwinIR
from srlab.ops.attention import relative_position_index, shifted_window_mask
from srlab.ops.shift import resolve_shift_schedule

BLOCK = "layers.{}.residual_group.blocks.{}"
_FIRST = BLOCK.format(0, 0)
_TABLE = "attn.relative_position_bias_table"

#: Keys of the frame; those inside blocks follow them.
FRAME_NAMES: Names = (
    ("layers.{}.residual_group.blocks.", "layers.{}.blocks."),
    ("layers.", "groups."),
    ("norm.", "norm_out."),
    ("patch_embed.norm.", "norm_in."),
    ("conv_before_upsample.0.", "head.widen."),
    ("upsample.", "head.upsample."),
    ("conv_up1.", "head.stages.0."),
    ("conv_up2.", "head.stages.1."),
    ("conv_hr.", "head.refine."),
    ("conv_last.", "head.last."),
)


def detect_frame(state: State) -> dict[str, Any]:
    """Arguments of :class:`srlab.models.residual_groups.ResidualGroupNetwork`; the published colour range."""
    if "upsample.0.weight" not in state and "conv_up1.weight" not in state:
        raise KeyError("upsample.0.weight")
    depths = [
        count_numbered(state, f"layers.{group}.residual_group.blocks.")
        for group in range(count_numbered(state, "layers."))
    ]
    dim, hidden = state["conv_first.weight"].shape[0], state[f"{_FIRST}.mlp.fc1.weight"].shape[0]
    head, scale = _detect_head(state)
    return {
        "scale": scale,
        "dim": dim,
        "depths": depths,
        "mlp_ratio": hidden / dim if hidden % dim == 0 else (hidden + 0.5) / dim,
        "head": head,
        "connection": "3conv" if "conv_after_body.0.weight" in state else "1conv",
        "value_range": 1.0,
        "backend": "auto",
        "mean": list(RGB_MEAN),
    }


def _detect_head(state: State) -> tuple[str, int]:
    """Name of the head, and scale."""
    if "conv_before_upsample.0.weight" not in state:
        rows = state["upsample.0.weight"].shape[0] if "upsample.0.weight" in state else 0
        return "pixelshuffledirect", math.isqrt(rows // 3)
    if "conv_up1.weight" in state:
        return "nearest+conv", 4 if "conv_up2.weight" in state else 2
    return "pixelshuffle", shuffled_scale(state, "upsample")


class SwinIRLayout(OfficialLayout):
    """Files hold derivable buffers, too: indices, and the masks of blocks that shift, for one image size."""

    network = SwinIR
    landmarks = (f"{_FIRST}.{_TABLE}", "conv_first.weight", f"{_FIRST}.mlp.fc1.weight")
    names = (
        *FRAME_NAMES,
        (".attn.relative_position_bias_table", ".attn.position_bias.table"),
        (".attn.", ".attention."),
        (".mlp.fc1.", ".mlp.expand."),
        (".mlp.fc2.", ".mlp.contract."),
    )
    derivable = ("*attn_mask", "*relative_position_index")

    def detect(self, state: State) -> Detected:
        """Shifts are detected from stored masks only; colour range and drop path leave no trace."""
        frame = detect_frame(state)
        groups = range(len(frame["depths"]))
        arguments = {
            **frame,
            "num_heads": [state[f"{BLOCK.format(group, 0)}.{_TABLE}"].shape[1] for group in groups],
            "window_size": _window_size(state),
            "drop_path": 0.1,
            "shift_schedule": _detect_schedule(state, frame["depths"]),
        }
        masks = any(key.endswith("attn_mask") for key in state)
        return arguments, ("mean", "value_range", "drop_path", *(() if masks else ("shift_schedule",)))

    def options(self, state: State) -> dict[str, Any]:
        """The image size of stored masks; without any, that of the published light network."""
        windows = [value.shape[0] for key, value in state.items() if key.endswith("attn_mask")]
        return {"img_size": math.isqrt(windows[0]) * _window_size(state)} if windows else {}

    def from_ours(self, network: Network, *, img_size: int = 64) -> dict[str, Tensor]:
        """With the buffers, as the official code writes them for images of ``img_size`` pixels."""
        side, state = network.size_multiple, super().from_ours(network)
        if img_size <= side or img_size % side:
            raise ValueError(
                f"img_size={img_size} must be a multiple of the window size {side}, and more than one"
            )
        like = state["conv_first.weight"]
        for name, block in network.named_modules():
            if isinstance(block, SwinBlock):
                _, group, _, position = name.split(".")
                key = BLOCK.format(group, position)
                state[f"{key}.attn.relative_position_index"] = relative_position_index(side, like.device)
                if shift := block.attention.shift:
                    mask = shifted_window_mask(img_size, img_size, side, shift, like.device, like.dtype)
                    state[f"{key}.attn_mask"] = mask.flatten(0, 1)
        return state


def _window_size(state: State) -> int:
    """From the distances inside a window, of which there are (2S - 1) * (2S - 1)."""
    return (math.isqrt(state[f"{_FIRST}.{_TABLE}"].shape[0]) + 1) // 2


def _detect_schedule(state: State, depths: Sequence[int]) -> str | list[bool]:
    """Blocks that shift store a mask; without any mask, the published schedule."""
    masked = [
        f"{BLOCK.format(group, position)}.attn_mask" in state
        for group, depth in enumerate(depths)
        for position in range(depth)
    ]
    alternate = resolve_shift_schedule("alternate", depths)
    return masked if any(masked) and tuple(masked) != alternate else "alternate"
