"""ELAN's operators with gradients on the CPU: contiguous float32 maps (B, C, H, W), no stored attention maps.

Paper: Zhang et al., "Efficient Long-Range Attention Network for Image Super-Resolution", ECCV 2022,
sections 3.2 and 3.3 (arXiv 2203.06697).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from srlab.extensions.kernels.cpu.compiled import library
from srlab.extensions.kernels.cpu.window_attention import WindowGroup, described, largest, run_forward


def shift_convolution(features: Tensor, weight: Tensor, bias: Tensor, *, shifts: bool, relu: bool) -> Tensor:
    """Shift fifths of the channels by one pixel, if asked, then a 1x1 convolution, perhaps a ReLU.

    Args:
        features: (B, K, H, W).
        weight: (N, K, 1, 1).
        bias: (N,).
        shifts: as :func:`srlab.ops.shift.shift_channels`.
        relu: replace negative results by zero.

    Returns:
        (B, N, H, W).
    """
    return _ShiftConvolution.apply(features, weight, bias, shifts, relu)


def self_similarity_attention(query: Tensor, value: Tensor, groups: Sequence[WindowGroup]) -> Tensor:
    """softmax(q q^T) v inside the windows of each group of channels, one head each.

    Args:
        query: (B, any, H, W); each group names the channels that it compares.
        value: (B, any, H, W), may be the same tensor; likewise, the channels that are averaged.
        groups: their results fill all channels of the returned map.

    Returns:
        (B, C, H, W).
    """
    return _Attention.apply(query, value, tuple(groups))


class _ShiftConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, shifts: bool, relu: bool) -> Tensor:
        features, weight, bias = features.contiguous(), weight.contiguous(), bias.contiguous()
        _require_float32(features, weight, bias)
        result = features.new_empty(len(features), len(weight), *features.shape[2:])
        sizes, scratch = _convolution_sizes(features, weight)
        maps = _addresses(features, weight, bias, result, scratch)
        library().shift_convolution(*maps, *sizes[:-1], shifts, relu, sizes[-1])
        ctx.save_for_backward(features, weight, result if relu else None)
        ctx.shifts = shifts
        return result

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]: the decorator's doing
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor, None, None]:
        features, weight, result = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        to_map = torch.empty_like(features) if ctx.needs_input_grad[0] else None
        outputs, inputs = weight.shape[:2]
        totals = weight.new_zeros(torch.get_num_threads(), outputs, inputs + 1)
        sizes, scratch = _convolution_sizes(features, weight)
        maps = _addresses(features, weight, result, gradient, to_map, totals, scratch)
        library().shift_convolution_gradient(*maps, *sizes[:-1], ctx.shifts, result is not None, sizes[-1])
        total = totals.sum(dim=0)
        return to_map, total[:, :-1].reshape(weight.shape), total[:, -1].contiguous(), None, None


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, value: Tensor, groups: tuple[WindowGroup, ...]) -> Tensor:
        _require_float32(query, value)
        batch, _, height, width = query.shape
        result = query.new_empty(batch, sum(group.depth for group in groups), height, width)
        log_sums = query.new_empty(len(groups), batch * height * width)
        run_forward((query, query, value, result), groups, log_sums=log_sums)
        ctx.save_for_backward(query, value, result, log_sums)
        ctx.groups = groups
        return result

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]: the decorator's doing
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, Tensor | None, None]:
        query, value, result, log_sums = ctx.saved_tensors
        groups, gradient = ctx.groups, gradients[0].contiguous()
        batch, _, height, width = query.shape
        shared = query is value or query.data_ptr() == value.data_ptr()
        to_query = torch.empty_like(query) if shared else torch.zeros_like(query)
        to_value = to_query if shared else torch.empty_like(value)
        threads = torch.get_num_threads()
        scratch = query.new_empty(library().window_attention_gradient_scratch(*largest(groups), threads))
        library().window_attention_gradient(
            *described(groups, query, value, result, gradient, to_query, to_value),
            len(groups),
            *_addresses(log_sums, scratch),
            *(batch, height, width, 1.0, threads),
        )
        return to_query, None if shared else to_value, None


def _convolution_sizes(features: Tensor, weight: Tensor) -> tuple[tuple[int, ...], Tensor]:
    batch, inputs, height, width = features.shape
    sizes = (batch, inputs, len(weight), height, width, torch.get_num_threads())
    return sizes, features.new_empty(library().shift_convolution_scratch(*sizes))


def _addresses(*tensors: Tensor | None) -> list[int | None]:
    return [None if tensor is None else tensor.data_ptr() for tensor in tensors]


def _require_float32(*tensors: Tensor) -> None:
    if any(tensor.dtype != torch.float32 for tensor in tensors):
        raise ValueError(
            f"the CPU kernels train in float32, got {', '.join(str(tensor.dtype) for tensor in tensors)}; "
            "other dtypes and autocast have backend sdpa or auto"
        )
