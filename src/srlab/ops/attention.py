"""Attention inside windows: the explicit form with its maps, and the fused one that never stores them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from srlab.ops.precision import without_autocast

# Added to the logits of tokens that only the cyclic shift made neighbours (SwinIR; not -inf, to match it).
_FOREIGN = -100.0

# CUDA's kernels take no more entries on a launch grid's axis: larger batches of windows run in parts.
_LARGEST_GRID = 65535

# CUDA's kernels need rows of 16 bytes: 8 elements suffice for every dtype of 2 bytes and more.
_ALIGNMENT = 8

# Triton's tiles: FlexAttention needs a power of two of channels, and at least this many; it fails with fewer
# tokens (pytorch/pytorch, issue 149824).
_FLEX_TILE = 16
# More shapes than any test set has: PyTorch's own limit of 8 would stop an evaluation.
_FLEX_SHAPES = 4096

_SIXTEEN_BITS = (torch.float16, torch.bfloat16)

_masks_are_rebuilt = ContextVar("masks_are_rebuilt", default=False)


@contextmanager
def rebuilt_masks() -> Iterator[None]:
    """In the ``with`` block, each attention block builds its mask again, as official code does."""
    token = _masks_are_rebuilt.set(True)
    try:
        yield
    finally:
        _masks_are_rebuilt.reset(token)


def forget_masks() -> int:
    """Clear the cache of masks; returns how many masks it held."""
    count = _cached_mask.cache_info().currsize
    _cached_mask.cache_clear()
    return count


def attention_maps(query: Tensor, key: Tensor, *, scale: float = 1.0, bias: Tensor | None = None) -> Tensor:
    """softmax(scale * q k^T + bias) over the keys; (..., T, d) twice to (..., T, T).

    For queries of 16 bits, logits are float32: ELAN's reach 1e6, beyond the range of float16 and the
    precision of bfloat16.
    """
    if query.dtype not in _SIXTEEN_BITS:
        logits = (query if scale == 1.0 else query * scale) @ key.transpose(-2, -1)
        return torch.softmax(logits if bias is None else logits + bias, dim=-1)
    with without_autocast(query.device):
        maps = attention_maps(query.float(), key.float(), scale=scale, bias=bias)
    return maps.to(query.dtype)


def fused_attention(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float = 1.0, bias: Tensor | None = None
) -> Tensor:
    """``attention_maps(query, key) @ value`` for (batch, heads, T, d), bias (heads, T, T), without the maps.

    On CUDA, channels are padded with zeros to rows that the memory-saving kernels accept: without that, a
    width such as 10 silently takes the path that stores the maps.
    """
    channels = query.shape[-1]
    surplus = -channels % _ALIGNMENT if query.is_cuda else 0
    if surplus:
        padded_query = F.pad(query, (0, surplus))
        key = padded_query if key is query else F.pad(key, (0, surplus))
        query, value = padded_query, F.pad(value, (0, surplus))
    if bias is not None:
        # Of three axes, the CPU takes the path that stores the maps: 8 times as slow for 32x32 windows.
        bias = bias.to(query.dtype)[None]
    if torch._C._get_tracing_state() is not None:  # it would record into how many parts this batch falls
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)[..., :channels]
    parts = zip(*(tensor.split(_LARGEST_GRID) for tensor in (query, key, value)), strict=True)
    mixed = [F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale) for q, k, v in parts]
    whole = mixed[0] if len(mixed) == 1 else torch.cat(mixed)
    return whole[..., :channels]


def flex_attention(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float = 1.0, bias: Tensor | None = None
) -> Tensor:
    """``fused_attention`` by PyTorch's FlexAttention, compiled: the bias is read where a logit needs it.

    On a CPU it is compiled again for every shape, which takes many seconds.

    Raises:
        ValueError: float64, gradients on a CPU, or fewer than 16 tokens: FlexAttention supports none.
    """
    if query.dtype == torch.float64:
        raise ValueError("backend flex computes in float32, float16 or bfloat16; use sdpa for float64")
    trained = any(each is not None and each.requires_grad for each in (query, key, value, bias))
    if query.device.type == "cpu" and trained and torch.is_grad_enabled():
        raise ValueError("backend flex has no gradients on a CPU; train with backend sdpa or reference")
    if query.shape[-2] < _FLEX_TILE:
        raise ValueError(
            f"backend flex needs windows of at least {_FLEX_TILE} tokens, got {query.shape[-2]}; use sdpa"
        )
    channels = query.shape[-1]
    surplus = max(_FLEX_TILE, 1 << (channels - 1).bit_length()) - channels
    query, key, value = (F.pad(tensor, (0, surplus)) for tensor in (query, key, value))
    if torch.compiler.is_compiling():
        return _flex(query, key, value, bias, scale)[..., :channels]
    with torch._dynamo.config.patch(recompile_limit=_FLEX_SHAPES, accumulated_recompile_limit=_FLEX_SHAPES):
        return _compiled_flex(query.device.type)(query, key, value, bias, scale)[..., :channels]


def _flex(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    from torch.nn.attention.flex_attention import flex_attention as flex

    def add_bias(score: Tensor, _batch: Tensor, head: Tensor, query_at: Tensor, key_at: Tensor) -> Tensor:
        assert bias is not None
        return score + bias[head, query_at, key_at]

    mixed = flex(query, key, value, score_mod=None if bias is None else add_bias, scale=scale)
    assert isinstance(mixed, Tensor)
    return mixed


@lru_cache(maxsize=2)
def _compiled_flex(device_type: str) -> Callable[..., Tensor]:
    """Uncompiled, FlexAttention stores every map: where it does not compile, it fails instead."""
    # For shapes left open, torch 2.13 writes C++ that does not compile.
    return torch.compile(_flex, fullgraph=True, dynamic=False if device_type == "cpu" else None)


def relative_position_index(side: int, device: torch.device) -> Tensor:
    """(T, T) row of the bias table for each (query, key): row-major in their distance, smallest first."""
    ticks = torch.arange(side, device=device)
    y, x = (axis.flatten() for axis in torch.meshgrid(ticks, ticks, indexing="ij"))
    return (y[:, None] - y + side - 1) * (2 * side - 1) + x[:, None] - x + side - 1


def attention_regions(length: int, side: int, shift: int, device: torch.device) -> Tensor:
    """(length,) number of the region that each position of a shifted axis comes from: 0, 1 or 2."""
    position = torch.arange(length, device=device)
    return (position >= length - side).long() + (position >= length - shift).long()


def region_mask(regions: Tensor, dtype: torch.dtype) -> Tensor:
    """(..., T) numbers of regions to (..., T, T): what the logits of tokens in different regions get."""
    foreign = regions[..., :, None] != regions[..., None, :]
    return torch.zeros_like(foreign, dtype=dtype).masked_fill(foreign, _FOREIGN)


def shifted_window_mask(
    height: int, width: int, side: int, shift: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """(H/side, W/side, T, T): what each window of a map shifted by ``shift`` adds to its logits.

    The latest are cached, one entry for all blocks of a network; compilers and exporters trace the function.
    """
    build = _mask if torch.compiler.is_compiling() or _masks_are_rebuilt.get() else _cached_mask
    return build(height, width, side, shift, device, dtype)


def shifted_window_masks_by_row(
    width: int, side: int, shift: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Masks (W/side, T, T) of any row of windows but the last, and of the last: no others occur."""
    mask = shifted_window_mask(2 * side, width, side, shift, device, dtype)
    return mask[0], mask[1]


def _mask(height: int, width: int, side: int, shift: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    rows = attention_regions(height, side, shift, device)
    columns = attention_regions(width, side, shift, device)
    regions = rearrange(rows[:, None] * 3 + columns, "(nh sh) (nw sw) -> nh nw (sh sw)", sh=side, sw=side)
    return region_mask(regions, dtype)


# Few entries, because masks of large images are large. Without inference mode: a tensor that validation made
# could not take part in training later.
_cached_mask = lru_cache(maxsize=4)(torch.inference_mode(False)(_mask))
