"""Shifts: which attention blocks shift their windows, and the channel shift of shift-convolutions."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Offsets (rows, columns) of the pixel that each of the first four fifths of the channels reads.
_NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def resolve_shift_schedule(schedule: str | Sequence[bool | int], depths: Sequence[int]) -> tuple[bool, ...]:
    """One boolean for each attention block: does it shift its windows cyclically?

    Args:
        schedule: ``alternate``, the papers' choice: odd positions. Positions start from 0 in every group,
            as in the official SwinIR, which matters only for groups of odd depth. ``every``; ``none``;
            ``late``: the blocks of ``alternate`` that lie in the second half (index >= n / 2); or one 0/1 for
            each block.
        depths: number of blocks in each group; blocks are counted through all groups in order.

    Raises:
        ValueError: unknown name, or a list that is not exactly as long as there are blocks.
    """
    positions = [position for depth in depths for position in range(depth)]
    count = len(positions)
    if isinstance(schedule, str):
        alternate = tuple(position % 2 == 1 for position in positions)
        late = tuple(shifts and 2 * index >= count for index, shifts in enumerate(alternate))
        named = {"alternate": alternate, "every": (True,) * count, "none": (False,) * count, "late": late}
        if schedule not in named:
            raise ValueError(
                f"unknown shift_schedule {schedule!r}; choose one of {', '.join(named)}, "
                f"or give a list of {count} booleans"
            )
        return named[schedule]
    if any(shifts not in (0, 1) for shifts in schedule):
        raise ValueError(f"shift_schedule holds {list(schedule)}; only true/false (1/0) are allowed")
    if len(schedule) != count:
        raise ValueError(
            f"shift_schedule has {len(schedule)} entries, but the network has {count} blocks that could "
            f"shift; give exactly {count}"
        )
    return tuple(bool(shifts) for shifts in schedule)


def shift_kernel(channels: int) -> Tensor:
    """(C, 1, 3, 3) kernel: fifths read their right, left, lower, upper neighbour, the rest itself."""
    group = channels // 5
    centre = (1, 1)
    read = [(1 + row, 1 + column) for row, column in _NEIGHBOURS for _ in range(group)]
    read += [centre] * (channels - len(read))
    # as one constant: tracers record writes into a tensor, and exporters refuse them
    return torch.tensor([[[[float(cell == (y, x)) for x in range(3)] for y in range(3)]] for cell in read])


def shift_channels_by_convolution(feature_map: Tensor) -> Tensor:
    """Shift (B, C, H, W) as the paper does: a depth-wise convolution with a fixed kernel; outside is zero."""
    channels = feature_map.shape[1]
    return F.conv2d(feature_map, shift_kernel(channels).to(feature_map), padding=1, groups=channels)


def move_channels(feature_map: Tensor, sign: int) -> Tensor:
    """Shift (B, C, H, W) by slices of the padded map; ``sign`` -1 shifts back, dropping what was outside."""
    group, (height, width) = feature_map.shape[1] // 5, feature_map.shape[2:]
    padded = F.pad(feature_map, (1, 1, 1, 1))
    parts = []
    for index, (row, column) in enumerate(_NEIGHBOURS):
        top, left = 1 + sign * row, 1 + sign * column
        channels = slice(index * group, (index + 1) * group)
        parts.append(padded[:, channels, top : top + height, left : left + width])
    return torch.cat([*parts, feature_map[:, len(_NEIGHBOURS) * group :]], dim=1)


class _Shift(torch.autograd.Function):
    """The gradient is the opposite shift, not a sum of padded slices."""

    @staticmethod
    def forward(ctx: Any, feature_map: Tensor, sign: int) -> Tensor:
        ctx.sign = sign
        return move_channels(feature_map, sign)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Shift.apply(gradients[0], -ctx.sign), None


def shift_channels(feature_map: Tensor) -> Tensor:
    """The same function as :func:`shift_channels_by_convolution` by moving memory: no multiplications."""
    return _Shift.apply(feature_map, 1)
