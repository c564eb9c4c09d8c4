"""Weighted sums over the neighbourhood of each pixel, with different weights for each pixel.

A filter has K * K taps, row by row, ``dilation`` pixels apart; outside the map the values are zero. For
channel c, tap t and pixel p it is ``factor[c, t] * weights[head(c), t, p] + offset[c, t]``: the weights are
shared by the channels of a head, which lie side by side, while factor and offset set the channels apart (the
ghost head of ELSA, arXiv 2112.12786). A factor of None is 1, an offset of None is 0.

Shape legend: B batch, C channels, M heads, d = C / M, K side of a filter, T = K * K taps, H/W map size.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.autograd.function import once_differentiable


def local_aggregation(
    values: Tensor,
    weights: Tensor,
    *,
    factor: Tensor | None = None,
    offset: Tensor | None = None,
    dilation: int = 1,
) -> Tensor:
    """Gather all neighbours, build all filters, multiply: stores T times the memory of the values, twice.

    Args:
        values: (B, C, H, W).
        weights: (B, M, T, H, W).
        factor: (C, K, K) or None.
        offset: (C, K, K) or None.
        dilation: pixels from one tap to the next.

    Returns:
        (B, C, H, W).
    """
    side = math.isqrt(weights.shape[2])
    neighbours = F.unfold(values, side, dilation=dilation, padding=dilation * (side // 2))
    neighbours = rearrange(neighbours, "b (c t) p -> b c t p", t=side**2)
    filters = weights.flatten(3).repeat_interleave(values.shape[1] // weights.shape[1], dim=1)
    if factor is not None:
        filters = filters * factor.flatten(1)[..., None]
    if offset is not None:
        filters = filters + offset.flatten(1)[..., None]
    mixed = torch.einsum("bctp, bctp -> bcp", filters.to(values.dtype), neighbours)
    return rearrange(mixed, "b c (h w) -> b c h w", h=values.shape[2])


def fused_local_aggregation(
    values: Tensor,
    weights: Tensor,
    *,
    factor: Tensor | None = None,
    offset: Tensor | None = None,
    dilation: int = 1,
) -> Tensor:
    """:func:`local_aggregation` tap by tap: weights and padded values are the largest tensors.

    The same holds for its gradients, which cannot be differentiated again. The offset, the same at all
    pixels, is a depth-wise convolution. Sums are in float32 at least.
    """
    taps = None if factor is None else factor.flatten(1)
    # Whole planes of one tap must lie together: in channels-last layout a plane has one value in each row.
    mixed = _Aggregation.apply(values.contiguous(), weights.contiguous(), taps, dilation)
    if offset is None:
        return mixed
    padding = dilation * (offset.shape[-1] // 2)
    kernel = offset[:, None].to(values.dtype)
    return mixed + F.conv2d(values, kernel, padding=padding, dilation=dilation, groups=len(kernel))


class _Aggregation(torch.autograd.Function):
    """The sum without offset; the factor is (C, T) or None."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weights: Tensor, factor: Tensor | None, dilation: int) -> Tensor:
        ctx.save_for_backward(values, weights, factor)
        ctx.dilation = dilation
        by_head = values.unflatten(1, (weights.shape[1], -1))
        mixed = torch.zeros_like(by_head, dtype=_summing_dtype(values))
        for tap, neighbours in enumerate(_neighbours(_padded(by_head, weights, dilation), weights, dilation)):
            mixed.addcmul_(_scaled(neighbours, factor, tap), weights[:, :, tap, None])
        return mixed.flatten(1, 2).to(values.dtype)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]: the decorator's doing
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, None]:
        values, weights, factor = ctx.saved_tensors
        gradient, by_head = (x.unflatten(1, (weights.shape[1], -1)) for x in (gradients[0], values))
        padded = _padded(by_head, weights, ctx.dilation)
        to_padded = torch.zeros_like(padded, dtype=_summing_dtype(values))
        to_weights = torch.empty_like(weights)
        to_factor = None if factor is None else torch.empty_like(factor)
        parts = (_neighbours(image, weights, ctx.dilation) for image in (padded, to_padded))
        for tap, (neighbours, to_neighbours) in enumerate(zip(*parts, strict=True)):
            weight, product = weights[:, :, tap, None], gradient * neighbours
            if to_factor is not None:
                to_factor[:, tap] = (product * weight).sum((0, 3, 4)).flatten()
            to_weights[:, :, tap] = _scaled(product, factor, tap).sum(2)
            to_neighbours.addcmul_(_scaled(gradient, factor, tap), weight)
        margin = (padded.shape[-1] - values.shape[-1]) // 2
        to_values = to_padded[..., margin : margin + values.shape[2], margin : margin + values.shape[3]]
        return to_values.flatten(1, 2).to(values.dtype), to_weights, to_factor, None


def _neighbours(padded: Tensor, weights: Tensor, dilation: int) -> Iterator[Tensor]:
    """For each tap the view (B, M, d, H, W) of the padded map that shows its neighbour at each pixel."""
    (taps, height, width), side = weights.shape[2:], math.isqrt(weights.shape[2])
    for tap in range(taps):
        top, left = (dilation * step for step in divmod(tap, side))
        yield padded[..., top : top + height, left : left + width]


def _padded(by_head: Tensor, weights: Tensor, dilation: int) -> Tensor:
    margin = dilation * (math.isqrt(weights.shape[2]) // 2)  # from the middle of a filter to its edge
    return F.pad(by_head, (margin,) * 4)


def _scaled(by_head: Tensor, factor: Tensor | None, tap: int) -> Tensor:
    """(B, M, d, H, W) times the factor of each channel at this tap."""
    if factor is None:
        return by_head
    return by_head * factor[:, tap].view(*by_head.shape[1:3], 1, 1)


def _summing_dtype(values: Tensor) -> torch.dtype:
    """In half precision, sums of dozens of terms would lose the last ones."""
    return torch.promote_types(values.dtype, torch.float32)
