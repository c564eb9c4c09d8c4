"""Square patches that overlap by two pixels, and the mean of what they say where they overlap.

Paper:      Liu et al., "CATANet: Efficient Content-Aware Token Aggregation for Lightweight Image
            Super-Resolution", CVPR 2025, arXiv 2503.06896
Reference:  github.com/EquationWalker/CATANet at fd2222f3, basicsr/archs/catanet_arch.py
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor

from srlab.ops.reach import Interval, Windows

#: Pixels that neighbouring patches share.
OVERLAP = 2


@dataclass(frozen=True)
class OverlappingPatches(Windows):
    """Attention in patches: each position reads all patches that it lies in. ``side`` is their distance."""

    def back(self, interval: Interval) -> Interval:
        """As in :class:`srlab.ops.reach.Neighbours`."""
        width = self.side + OVERLAP
        return Interval(
            -((width - 1 - interval.first) // self.side) * self.side,
            interval.last // self.side * self.side + width - 1,
        )


def patch_starts(length: int, side: int) -> list[int]:
    """First position of each patch on an axis; the last patch ends with the axis, whatever it overlaps."""
    if length <= side:
        return [0]
    step = side - OVERLAP
    return [*range(0, length - side, step), length - side]


def cut_patches(feature_map: Tensor, side: int) -> Tensor:
    """(B, H, W, C) to (B, rows, columns, h, w, C), h = min(side, H) and w = min(side, W)."""
    rows, columns = (_positions(length, side, feature_map.device) for length in feature_map.shape[1:3])
    patches = feature_map[:, rows.flatten()][:, :, columns.flatten()]
    return rearrange(patches, "b (nh h) (nw w) c -> b nh nw h w c", nh=rows.shape[0], nw=columns.shape[0])


def join_patches(patches: Tensor, side: int, height: int, width: int) -> Tensor:
    """(B, rows, columns, h, w, C) as :func:`cut_patches` makes them to the (B, H, W, C) of their means.

    The sum is halved once for each pair of neighbours, as in the authors' code. Where the last patch overlaps
    the two before it, in one row or column, that takes a quarter of the sum of three.
    """
    joined = rearrange(patches, "b nh nw h w c -> b (nh h) (nw w) c")
    for axis, length in ((1, height), (2, width)):
        positions = _positions(length, side, patches.device)
        shape = [*joined.shape[:axis], length, *joined.shape[axis + 1 :]]
        joined = joined.new_zeros(shape).index_add(axis, positions.flatten(), joined)
        shares = _shares(length, side).to(joined)
        joined = joined * shares.view([-1 if each == axis else 1 for each in range(4)])
    return joined


def _positions(length: int, side: int, device: torch.device) -> Tensor:
    """(patches, min(side, length)) of an axis."""
    starts = torch.tensor(patch_starts(length, side), device=device)
    return starts[:, None] + torch.arange(min(side, length), device=device)


def _shares(length: int, side: int) -> Tensor:
    """(length,) factor of the sum over patches."""
    shares, starts = torch.ones(length), patch_starts(length, side)
    for before, start in pairwise(starts):
        shares[start : before + side] /= 2
    return shares
