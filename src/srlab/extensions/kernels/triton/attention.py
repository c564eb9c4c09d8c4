"""Attention inside windows of (B, H, W, C) maps by Triton kernels: no rolls, no cut windows, no stored maps.

Window (i, j) of side S, shifted by s, covers rows (i * S + y + s) mod H and columns (j * S + x + s) mod W.
Tensors may be slices of wider maps, such as the queries of a map that holds queries, keys and values.

Both functions run in the dtype of their tensors, or in autocast's; logits, soft-max and sums are float32.
Products of float32 are exact unless ``torch.set_float32_matmul_precision`` allows otherwise. They can be
compiled and captured in CUDA graphs, and differentiated once.

Shape legend: B batch, H/W map size, C channels, M heads, d = C / M, S window side, T = S * S tokens.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from srlab.extensions.kernels.triton.availability import require_kernels
from srlab.extensions.kernels.triton.checks import (
    autocast_together,
    channels_together,
    require_kernel_map,
    require_same,
)
from srlab.extensions.kernels.triton.tiles import fits_tile

__all__ = ["group_window_attention", "window_attention"]

# Wider heads would not fit into registers beside their sums.
_WIDEST_HEAD = 64


def window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    side: int,
    shift: int = 0,
    scale: float = 1.0,
    bias: Tensor | None = None,
    masked: bool = False,
    num_heads: int = 1,
) -> Tensor:
    """softmax(scale * q k^T + bias) v inside windows, for each head.

    Args:
        query: (B, H, W, C); head m has the channels from m * d on.
        key: the same; if it is ``query`` itself, half of the reading and of the gradients' products is saved.
        value: the same.
        side: side S of the windows, which must divide H and W.
        shift: pixels by which the windows are moved down and right, cyclically, from 0 to S - 1.
        scale: of the logits, without the bias.
        bias: added to the logits: (M, T, T), or (M, 2S - 1, 2S - 1), one value for each distance, query minus
            key, smallest first: read from cache where the former is read from memory.
        masked: add -100 between tokens that only the shift made neighbours (SwinIR).
        num_heads: heads M.

    Returns:
        (B, H, W, C) in the layout of the shape, each token in its query's place.

    Raises:
        ValueError: shapes, dtypes or devices do not fit.
    """
    if num_heads < 1:
        raise ValueError(f"num_heads must be at least 1, got {num_heads}")
    key_or_none = None if key is query else key
    return _checked_attention(
        query, key_or_none, value, bias, [side] * num_heads, [shift] * num_heads, scale, masked
    )


def group_window_attention(query: Tensor, value: Tensor, *, sides: Sequence[int], shifted: bool) -> Tensor:
    """softmax(q q^T) v for groups of channels, each in windows of its own side (ELAN's GMSA).

    Args:
        query: (B, H, W, C); the g-th group has the channels from g * C / G on.
        value: the same.
        sides: side S of each of the G groups' windows; all must divide H and W.
        shifted: move the windows of each group cyclically by half their side.

    Returns:
        (B, H, W, C), all groups in one map.

    Raises:
        ValueError: shapes, dtypes or devices do not fit.
    """
    if not sides:
        raise ValueError("sides is empty; give the side of the windows of each group")
    shifts = [side // 2 if shifted else 0 for side in sides]
    return _checked_attention(query, None, value, None, list(sides), shifts, 1.0, False)


def _checked_attention(
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    bias: Tensor | None,
    sides: list[int],
    shifts: list[int],
    scale: float,
    masked: bool,
) -> Tensor:
    maps = {"query": query, "value": value} if key is None else {"query": query, "key": key, "value": value}
    maps = autocast_together(maps)
    query, key, value = maps["query"], maps.get("key"), maps["value"]
    _check_windows(query, sides, shifts)
    for name, tensor in maps.items():
        require_kernel_map(name, tensor)
        require_same(name, tensor, "query", query)
    if bias is not None:
        _check_bias(bias, query, sides)
        bias = bias.float().contiguous()
    inputs = (query, key, value, bias)
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs)
    return _attend(*inputs, sides, shifts, float(scale), masked, keep)[0]


def _check_windows(query: Tensor, sides: Sequence[int], shifts: Sequence[int]) -> None:
    if query.ndim != 4 or 0 in query.shape:
        raise ValueError(f"expected a map (B, H, W, C), not empty, got {tuple(query.shape)}")
    _, height, width, channels = query.shape
    if channels % len(sides) or channels // len(sides) > _WIDEST_HEAD:
        raise ValueError(
            f"{channels} channels in {len(sides)} heads or groups: they must divide evenly, into at most "
            f"{_WIDEST_HEAD} channels each; use backend sdpa for wider heads"
        )
    for side, shift in zip(sides, shifts, strict=True):
        if side < 1 or height % side or width % side:
            raise ValueError(
                f"feature map is {height}x{width}, not a multiple of the window side {side}; "
                "pad it first with ops.padding.pad_to_multiple"
            )
        if not 0 <= shift < side:
            raise ValueError(f"windows of side {side} shift by 0 to {side - 1} pixels, got {shift}")


def _check_bias(bias: Tensor, query: Tensor, sides: Sequence[int]) -> None:
    heads, side = len(sides), sides[0]
    allowed = [(heads, side**2, side**2), (heads, 2 * side - 1, 2 * side - 1)]
    if tuple(bias.shape) not in allowed:
        raise ValueError(
            f"bias is {tuple(bias.shape)}, but {heads} heads in windows of side {side} need "
            f"{allowed[0]}, or {allowed[1]} by distance"
        )
    if bias.device != query.device:
        raise ValueError(f"bias is on {bias.device} and query on {query.device}; move them together")


@torch.library.custom_op("srlab::window_attention", mutates_args=())
def _attend(
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    bias: Tensor | None,
    sides: Sequence[int],
    shifts: Sequence[int],
    scale: float,
    masked: bool,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """The mixed values, and with ``keep`` what the gradients need of large windows' rows."""
    require_kernels(query.device)
    from srlab.extensions.kernels.triton.attention_launch import Operands, attention, equal_heads

    mixed, statistics = _outputs(query, sides, keep)
    operands = Operands(query, key, value, bias, scale, masked)
    with torch.cuda.device_of(query):
        attention(operands, equal_heads(sides, shifts), mixed, statistics)
    return mixed, statistics


@_attend.register_fake
def _(query: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    _key, _value, _bias, sides, *_constants, keep = others
    return _outputs(query, sides, keep)


def _outputs(query: Tensor, sides: Sequence[int], keep: bool) -> tuple[Tensor, Tensor]:
    """Mixed values and (2, heads in large windows, N) statistics, not filled."""
    mixed = torch.empty_like(query, memory_format=torch.contiguous_format)
    large = sum(not fits_tile(side) for side in sides) if keep else 0
    tokens = query.shape[0] * query.shape[1] * query.shape[2]
    return mixed, query.new_empty((2, large, tokens), dtype=torch.float32)


@torch.library.custom_op("srlab::window_attention_gradients", mutates_args=())
def _attend_backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor | None,
    value: Tensor,
    bias: Tensor | None,
    mixed: Tensor,
    statistics: Tensor,
    sides: Sequence[int],
    shifts: Sequence[int],
    scale: float,
    masked: bool,
    bias_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value and bias; without entries where there is none."""
    from srlab.extensions.kernels.triton.attention_launch import Operands, attention_gradients, equal_heads

    operands = Operands(query, key, value, bias, scale, masked)
    with torch.cuda.device_of(query):
        to_query, to_key, to_value, to_bias = attention_gradients(
            operands,
            equal_heads(sides, shifts),
            mixed,
            statistics,
            channels_together(gradient),
            bias_gradient,
        )
    return (
        to_query,
        query.new_empty(0) if to_key is None else to_key,
        to_value,
        query.new_empty(0, dtype=torch.float32) if to_bias is None else to_bias,
    )


@_attend_backward.register_fake
def _(
    _gradient: Tensor, query: Tensor, key: Tensor | None, value: Tensor, bias: Tensor | None, *others: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    *_constants, bias_gradient = others
    to_bias = bias.shape if bias is not None and bias_gradient else (0,)
    return (
        query.new_empty(query.shape),
        query.new_empty(0 if key is None else key.shape),
        value.new_empty(value.shape),
        query.new_empty(to_bias, dtype=torch.float32),
    )


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, bias, *constants, _keep = inputs
    ctx.save_for_backward(query, key, value, bias, *output)
    ctx.constants = constants


def _gradients(ctx: Any, gradient: Tensor, _statistics: Tensor) -> tuple[Tensor | None, ...]:
    query, key, value, bias, mixed, statistics = ctx.saved_tensors
    wanted = bias is not None and ctx.needs_input_grad[3]
    to_query, to_key, to_value, to_bias = _attend_backward(
        gradient, query, key, value, bias, mixed, statistics, *ctx.constants, wanted
    )
    return (
        to_query,
        None if key is None else to_key,
        to_value,
        to_bias if wanted else None,
        *(None,) * 5,
    )


_attend.register_autograd(_gradients, setup_context=_remember)
