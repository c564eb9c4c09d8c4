"""Attention inside windows of (B, H, W, C) maps by Triton kernels: no rolls, no cut windows, no stored maps.

Window (i, j) of side S, shifted by s, covers rows (i * S + y + s) mod H and columns (j * S + x + s) mod W.
Tensors may be slices of wider maps, such as the queries of a map that holds queries, keys and values.

It runs in the dtype of its tensors, or in autocast's; logits, soft-max and sums are float32. Products of
float32 are exact unless ``torch.set_float32_matmul_precision`` allows otherwise. It can be compiled and
captured in CUDA graphs, and differentiated once.

Shape legend: B batch, H/W map size, C channels, M heads, S window side, N = B * H * W tokens in all.
"""

from typing import Any

import torch
from torch import Tensor

from srlab.extensions.kernels.checks import check_windows
from srlab.extensions.kernels.triton.launch import (
    autocast_together,
    require_kernel_maps,
    require_kernels,
)
from srlab.layers.position_bias import RelativePositionBias

# Wider heads would not fit into registers together with their sums.
_WIDEST_HEAD = 64


def window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    side: int,
    shift: int = 0,
    scale: float = 1.0,
    bias: RelativePositionBias | None = None,
    masked: bool = False,
    num_heads: int = 1,
) -> Tensor:
    """See :mod:`srlab.ops.kernels`; a key that is ``query`` itself is read once."""
    given = {"query": query, "value": value, **({} if key is query else {"key": key})}
    maps = autocast_together(given)
    require_kernel_maps(maps)
    check_windows(query.shape, num_heads, side, shift)
    if query.shape[-1] // num_heads > _WIDEST_HEAD:
        raise ValueError(
            f"{query.shape[-1]} channels in {num_heads} heads: the kernels take at most {_WIDEST_HEAD} "
            "channels in each; use backend sdpa"
        )
    by_distance = None if bias is None else bias.prepared("triton", _in_float32)
    expected = (num_heads, 2 * side - 1, 2 * side - 1)
    if by_distance is not None and by_distance.shape != expected:
        raise ValueError(
            f"bias is {tuple(by_distance.shape)}, but {num_heads} heads in windows of side {side} "
            f"need {expected}"
        )
    inputs = (maps["query"], maps.get("key"), maps["value"], by_distance)
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs)
    return _attend(*inputs, side, shift, float(scale), masked, num_heads, keep)[0]


def _in_float32(bias: Tensor) -> Tensor:
    return bias.float().contiguous()


@torch.library.custom_op("srlab::window_attention", mutates_args=())
def _attend(
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    bias: Tensor | None,
    side: int,
    shift: int,
    scale: float,
    masked: bool,
    num_heads: int,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """The mixed values; with ``keep``, for the gradients, largest logit and sum of every row, (2, M, N)."""
    require_kernels(query.device)
    from srlab.extensions.kernels.triton.attention_launch import Attention, attend

    mixed, statistics = _outputs(query, num_heads, keep)
    with torch.cuda.device_of(query):
        attend(Attention(query, key, value, bias, side, shift, scale, masked, num_heads), mixed, statistics)
    return mixed, statistics


@_attend.register_fake
def _(query: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    *_others, num_heads, keep = others
    return _outputs(query, num_heads, keep)


def _outputs(query: Tensor, num_heads: int, keep: bool) -> tuple[Tensor, Tensor]:
    """Both of them, not filled."""
    tokens = query.shape[0] * query.shape[1] * query.shape[2]
    statistics = query.new_empty((2, num_heads if keep else 0, tokens), dtype=torch.float32)
    return torch.empty_like(query, memory_format=torch.contiguous_format), statistics


@torch.library.custom_op("srlab::window_attention_gradients", mutates_args=())
def _attend_backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    bias: Tensor | None,
    mixed: Tensor,
    statistics: Tensor,
    side: int,
    shift: int,
    scale: float,
    masked: bool,
    num_heads: int,
    bias_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value and bias; without entries where there is none."""
    from srlab.extensions.kernels.triton.attention_launch import Attention, attention_gradients

    gradients = _gradients_of(query, key, value, bias if bias_gradient else None)
    attention = Attention(query, key, value, bias, side, shift, scale, masked, num_heads)
    if gradient.stride(-1) != 1:  # that of a sum is one value, expanded
        gradient = gradient.contiguous()
    with torch.cuda.device_of(query):
        attention_gradients(attention, mixed, statistics, gradient, gradients)
    return gradients


@_attend_backward.register_fake
def _(
    _gradient: Tensor, query: Tensor, key: Tensor | None, value: Tensor, bias: Tensor | None, *others: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _gradients_of(query, key, value, bias if others[-1] else None)


def _gradients_of(*tensors: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Contiguous tensors of these shapes, not filled."""
    stand_in = tensors[0]
    assert stand_in is not None
    query, key, value, bias = (
        stand_in.new_empty(0) if tensor is None else tensor.new_empty(tensor.shape) for tensor in tensors
    )
    return query, key, value, bias


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, bias, *constants, _keep = inputs
    ctx.save_for_backward(query, key, value, bias, *output)
    ctx.constants = constants


def _gradients(ctx: Any, gradient: Tensor, _statistics: Tensor) -> tuple[Tensor | None, ...]:
    key, bias_gradient = ctx.saved_tensors[1], ctx.needs_input_grad[3]
    to_query, to_key, to_value, to_bias = _attend_backward(
        gradient, *ctx.saved_tensors, *ctx.constants, bias_gradient
    )
    maps = (to_query, None if key is None else to_key, to_value)
    return (*maps, to_bias if bias_gradient else None, *(None,) * 6)


_attend.register_autograd(_gradients, setup_context=_save)
