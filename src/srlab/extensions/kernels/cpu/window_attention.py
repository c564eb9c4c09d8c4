"""Attention inside windows on the CPU: maps in, maps out, of any strides; no logits or rolled maps stored."""

import ctypes
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from srlab.extensions.kernels.checks import check_windows
from srlab.extensions.kernels.cpu.compiled import library, require_inference
from srlab.layers.position_bias import RelativePositionBias, expand_bias


class WindowGroup(NamedTuple):
    """Consecutive channels that attend inside windows of one size.

    Attributes:
        side: side S of the windows.
        shift: the windows' cyclic displacement, 0 to S - 1: window (0, 0) begins at pixel (shift, shift).
        query: its first channel in the maps of queries and keys.
        value: likewise, of values.
        result: likewise, of results.
        heads: number of heads.
        depth: channels of each head.
    """

    side: int
    shift: int
    query: int
    value: int
    result: int
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
    bias: RelativePositionBias | None = None,
    masked: bool = False,
    num_heads: int = 1,
) -> Tensor:
    """See :mod:`srlab.ops.kernels`; in float32, without gradients."""
    require_inference(False, (query, key, value))
    check_windows(query.shape, num_heads, side, shift)
    packed = None if bias is None else bias.prepared("cpu", pack_bias)
    result = query.new_empty(query.shape)
    group = WindowGroup(side, shift, 0, 0, 0, num_heads, query.shape[-1] // num_heads)
    maps = [tensor.permute(0, 3, 1, 2) for tensor in (query, key, value, result)]
    attend_in_windows(*maps, list(group), packed, scale, masked)
    return result


def pack_bias(by_distance: Tensor) -> Tensor:
    """(M, 2S - 1, 2S - 1), for powers of 2: as it is, or as (M, keys, queries) in whole vectors."""
    require_inference(False, [by_distance])
    side = (by_distance.shape[-1] + 1) // 2
    packed = by_distance.detach().float() * math.log2(math.e)
    if not _takes_distances(side):
        surplus = _padded_tokens(side) - side**2
        packed = F.pad(expand_bias(packed).transpose(1, 2), (0, surplus, 0, surplus))
    return packed.contiguous()


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
    """Write into ``result``: all maps are (B, C, H, W), of any strides, float32.

    Args:
        query: compared with the keys.
        key: may be the query.
        value: averaged.
        result: may be the value.
        groups: the numbers of each :class:`WindowGroup`, one group after another.
        bias: of the first group, from :func:`pack_bias`, or None; the others have none.
        scale: factor of the logits.
        masked: keep tokens apart that only the shift made neighbours, by adding -100.
    """
    size = len(WindowGroup._fields)
    parts = [WindowGroup(*groups[at : at + size]) for at in range(0, len(groups), size)]
    maps = (query, key, value, result)
    _check(maps, parts, bias)
    run_forward(maps, parts, bias=bias, scale=scale, masked=masked)


def run_forward(
    maps: Sequence[Tensor],
    groups: Sequence[WindowGroup],
    *,
    bias: Tensor | None = None,
    log_sums: Tensor | None = None,
    scale: float = 1.0,
    masked: bool = False,
) -> None:
    """:func:`attend_in_windows` unchecked; may keep logarithms of the soft-max sums, (groups, B * H * W)."""
    batch, _, height, width = maps[0].shape
    threads = torch.get_num_threads()
    scratch = maps[0].new_empty(library().window_attention_scratch(*largest(groups), threads))
    biases = [None if bias is None else bias.data_ptr(), *[None] * (len(groups) - 1)]
    library().window_attention(
        *described(groups, *maps),
        (ctypes.c_void_p * len(groups))(*biases),
        bias is not None and _takes_distances(groups[0].side),
        len(groups),
        None if log_sums is None else log_sums.data_ptr(),
        scratch.data_ptr(),
        *(batch, height, width, scale, masked, threads),
    )


def described(groups: Sequence[WindowGroup], *maps: Tensor) -> tuple[Any, Any, Any]:
    """Addresses and strides of the maps, numbers of the groups."""
    strides = [stride for tensor in maps for stride in tensor.stride()]
    numbers = [number for group in groups for number in group]
    return (
        (ctypes.c_void_p * len(maps))(*(tensor.data_ptr() for tensor in maps)),
        (ctypes.c_int64 * len(strides))(*strides),
        (ctypes.c_int64 * len(numbers))(*numbers),
    )


def largest(groups: Sequence[WindowGroup]) -> tuple[int, int]:
    """Most tokens of a window and most channels of a head, which scratch memory is made for."""
    return max(group.side for group in groups) ** 2, max(group.depth for group in groups)


@attend_in_windows.register_fake
def _(*_arguments: object) -> None:
    return None


@torch.compiler.assume_constant_result
def _takes_distances(side: int) -> bool:
    """Whether the kernel reads a bias by distance: rows of a window are made of whole vectors."""
    return bool(library().window_attention_takes_distances(side))


@torch.compiler.assume_constant_result
def _padded_tokens(side: int) -> int:
    return library().window_attention_bias_side(side**2)


def _check(maps: Sequence[Tensor], groups: Sequence[WindowGroup], bias: Tensor | None) -> None:
    shape = maps[0].shape
    if any(tensor.dtype != torch.float32 or tensor.shape != shape for tensor in maps):
        raise ValueError(
            "the CPU kernel attends in float32 maps of one shape, got "
            f"{', '.join(f'{m.dtype} {tuple(m.shape)}' for m in maps)}; other dtypes and autocast have "
            "backend sdpa or auto"
        )
    for group in groups:
        side, shift, *firsts, heads, depth = group
        check_windows((shape[0], *shape[2:], heads * depth), heads, side, shift)
        if any(not 0 <= first <= shape[1] - heads * depth for first in firsts):
            raise ValueError(f"{group} does not fit a map of {shape[1]} channels")
    if bias is not None:
        _check_packed(bias, groups[0])


def _check_packed(bias: Tensor, group: WindowGroup) -> None:
    side = 2 * group.side - 1 if _takes_distances(group.side) else _padded_tokens(group.side)
    if bias.shape != (group.heads, side, side) or not bias.is_contiguous() or bias.dtype != torch.float32:
        raise ValueError(
            f"bias must be {(group.heads, side, side)} in float32 from pack_bias for {group.heads} heads and "
            f"S={group.side}, got {bias.dtype} {tuple(bias.shape)}"
        )
