"""Attention inside windows on the CPU: maps in, maps out, of any strides; no logits or rolled maps stored."""

import ctypes
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from srlab.extensions.kernels.cpu.compiled import library, require_inference

__all__ = ["WindowGroup", "attend_in_windows", "takes_distances", "window_attention"]

_packed: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


class WindowGroup(NamedTuple):
    """Consecutive channels that attend inside windows of one size.

    Attributes:
        side: side S of the windows.
        shift: the windows' cyclic displacement, 0 to S - 1: window (0, 0) begins at pixel (shift, shift).
        first: its first channel.
        heads: number of heads.
        depth: channels of each head.
    """

    side: int
    shift: int
    first: int
    heads: int
    depth: int


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
    """Attention of (B, H, W, C) maps inside windows, in float32.

    Args:
        query: any strides, as all maps; H and W are multiples of the side.
        key: may be the query.
        value: like them.
        side: S; T = S * S.
        shift: the windows' cyclic displacement.
        scale: factor of the logits.
        bias: added to the logits: (num_heads, T, T) of (query, key), or where :func:`takes_distances`,
            (num_heads, 2 S - 1, 2 S - 1), one value for each distance, query minus key, smallest first.
        masked: tokens that only the shift made neighbours are kept apart by adding -100.
        num_heads: heads M; head m has channels m * C/M to (m + 1) * C/M.

    Returns:
        (B, H, W, C), contiguous.
    """
    require_inference(False, (query, key, value, bias))
    if side < 1 or num_heads < 1 or query.shape[-1] % num_heads:
        raise ValueError(
            f"side={side} and num_heads={num_heads} must be at least 1, and the heads divide the channels, "
            f"of which there are {query.shape[-1]}"
        )
    result = query.new_empty(query.shape)
    group = WindowGroup(side, shift % side, 0, num_heads, query.shape[-1] // num_heads)
    packed = None if bias is None else _pack(bias, side)
    maps = [tensor.permute(0, 3, 1, 2) for tensor in (query, key, value, result)]
    attend_in_windows(*maps, list(group), packed, scale, masked)
    return result


@torch.library.custom_op("srlab_native::attend_in_windows", mutates_args=("result",), device_types="cpu")
def attend_in_windows(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    result: Tensor,
    groups: Sequence[int],
    bias: Tensor | None,
    scale: float,
    masked: bool,
) -> None:
    """Write into ``result``, which may be ``value``: (B, C, H, W) in all places, any strides, float32.

    Args:
        query: compared with the keys.
        key: may be the query.
        value: averaged.
        result: written.
        groups: the numbers of each :class:`WindowGroup`, one group behind the other.
        bias: of the first group, packed, or None; the others have none.
        scale: factor of the logits.
        masked: see :func:`window_attention`.
    """
    parts = [WindowGroup(*groups[at : at + 5]) for at in range(0, len(groups), 5)]
    _check((query, key, value, result), parts, bias)
    batch, _, height, width = query.shape
    threads = torch.get_num_threads()
    tokens, depth = max(part.side for part in parts) ** 2, max(part.depth for part in parts)
    floats = library().window_attention_scratch(*map(ctypes.c_int64, (tokens, depth, threads)))
    scratch = query.new_empty(floats)
    maps = (query, key, value, result)
    strides = [tensor.stride(axis) for tensor in maps for axis in (0, 1, 2, 3)]
    biases = [None if bias is None else bias.data_ptr(), *[None] * (len(parts) - 1)]
    library().window_attention(
        (ctypes.c_void_p * 4)(*(tensor.data_ptr() for tensor in maps)),
        (ctypes.c_int64 * 16)(*strides),
        (ctypes.c_int64 * len(groups))(*groups),
        (ctypes.c_void_p * len(parts))(*biases),
        ctypes.c_int64(bias is not None and bias.shape[-1] == 2 * parts[0].side - 1),
        ctypes.c_int64(len(parts)),
        ctypes.c_void_p(scratch.data_ptr()),
        *map(ctypes.c_int64, (batch, height, width)),
        ctypes.c_float(scale),
        ctypes.c_int64(masked),
        ctypes.c_int64(threads),
    )


@attend_in_windows.register_fake
def _(*_arguments: object) -> None:
    return None


@torch.compiler.assume_constant_result
def takes_distances(side: int) -> bool:
    """Whether a bias for windows of ``side`` may be given by distance: rows are made of whole vectors."""
    return bool(library().window_attention_takes_distances(ctypes.c_int64(side)))


@torch.compiler.assume_constant_result
def _padded_tokens(side: int) -> int:
    return library().window_attention_bias_side(ctypes.c_int64(side**2))


def _pack(bias: Tensor, side: int) -> Tensor:
    """The bias for powers of 2, by distance or (M, keys, queries) in whole vectors; kept if it can be."""
    counts_writes = not (torch.compiler.is_compiling() or bias.is_inference())
    known = _packed.get(bias) if counts_writes else None
    if known is not None and known[0] == bias._version:
        return known[1]
    packed = bias.detach().float() * math.log2(math.e)
    if bias.shape[-1] == side**2:
        surplus = _padded_tokens(side) - side**2
        packed = F.pad(packed.transpose(1, 2), (0, surplus, 0, surplus))
    elif not takes_distances(side):
        raise ValueError(f"a bias by distance is not read for windows of side {side}; give (heads, T, T)")
    packed = packed.contiguous()
    if counts_writes:
        _packed[bias] = (bias._version, packed)
    return packed


def _check(maps: Sequence[Tensor], groups: Sequence[WindowGroup], bias: Tensor | None) -> None:
    shape = maps[0].shape
    if 0 in shape:
        raise ValueError(f"expected maps that are not empty, got {tuple(shape)}")
    if any(tensor.dtype != torch.float32 or tensor.shape != shape for tensor in maps):
        raise ValueError(
            "the CPU kernel attends in float32 maps of one shape, got "
            f"{', '.join(f'{m.dtype} {tuple(m.shape)}' for m in maps)}; other dtypes and autocast have "
            "backend sdpa or auto"
        )
    for group in groups:
        _check_group(group, shape)
    if bias is not None:
        _check_bias(bias, groups[0])


def _check_group(group: WindowGroup, shape: torch.Size) -> None:
    if min(group.side, group.heads, group.depth) < 1 or group.first < 0:
        raise ValueError(f"{group}: side, heads and depth must be at least 1, the first channel 0")
    if shape[2] % group.side or shape[3] % group.side:
        raise ValueError(
            f"feature map is {shape[2]}x{shape[3]}, not a multiple of the window side {group.side}; "
            "pad it first with ops.padding.pad_to_multiple"
        )
    if not 0 <= group.shift < group.side or group.first + group.heads * group.depth > shape[1]:
        raise ValueError(f"{group} does not fit a map of {shape[1]} channels")


def _check_bias(bias: Tensor, group: WindowGroup) -> None:
    side, padded = group.side, _padded_tokens(group.side)
    shapes = [(group.heads, padded, padded)]
    if takes_distances(side):
        shapes.append((group.heads, 2 * side - 1, 2 * side - 1))
    if tuple(bias.shape) not in shapes or not bias.is_contiguous() or bias.dtype != torch.float32:
        raise ValueError(
            f"bias must be (heads, T, T) or (heads, 2S - 1, 2S - 1) for {group.heads} heads and S={side}, "
            f"got {bias.dtype} {tuple(bias.shape)} when packed"
        )
