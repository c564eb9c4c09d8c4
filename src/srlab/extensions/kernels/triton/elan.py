"""A block of ELAN by Triton kernels, on maps whose channels lie side by side."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from srlab.extensions.kernels.elan import affine, folded_projection, pairs_of, projection_tensors
from srlab.extensions.kernels.triton.attention import window_attention
from srlab.extensions.kernels.triton.local_features import local_features
from srlab.models.elan import ElanBlock, GroupAttention


def elan_block(block: ElanBlock, features: Tensor) -> Tensor:
    """(B, C, H, W), channels last, to the same; the modules of a block share the map of queries."""
    pixels, query = features.permute(0, 2, 3, 1), None
    for local, attention in pairs_of(block):
        (expand, expand_bias), (contract, contract_bias) = map(affine, (local.expand.mix, local.contract.mix))
        pixels = local_features(pixels, expand.flatten(1), expand_bias, contract.flatten(1), contract_bias)
        own_query, value = _query_and_value(attention, pixels)
        query = own_query if query is None else query
        assert query is not None
        mixed = _attend_in_groups(query, value, attention.window_sizes, block.shifted)
        weight, bias = affine(attention.mix)
        pixels = F.linear(mixed, weight.flatten(1), bias) + pixels
    return pixels.permute(0, 3, 1, 2)


def _attend_in_groups(query: Tensor, value: Tensor, sides: Sequence[int], shifted: bool) -> Tensor:
    """softmax(q q^T) v, each group of channels in windows of its own side; all maps are (B, H, W, C)."""
    groups = zip(query.chunk(len(sides), -1), value.chunk(len(sides), -1), sides, strict=True)
    mixed = [window_attention(q, q, v, side=s, shift=s // 2 if shifted else 0) for q, v, s in groups]
    return torch.cat(mixed, dim=-1)


def _query_and_value(attention: GroupAttention, pixels: Tensor) -> tuple[Tensor | None, Tensor]:
    """(B, H, W, C) each, the query None where it is reused; in evaluation with the norm folded."""
    if attention.training:
        maps = attention.norm(attention.project(pixels.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        if attention.computes_maps:
            maps = rearrange(maps, "b h w (g p d) -> b h w (p g d)", g=len(attention.window_sizes), p=2)
    else:
        flat = attention.kernel_weights(
            lambda: torch.cat([tensor.flatten() for tensor in folded_projection(attention)]),
            projection_tensors(attention),
            form="triton",
        )
        outputs = attention.project.out_channels
        weight, bias = flat.split((len(flat) - outputs, outputs))
        maps = F.linear(pixels, weight.view(outputs, -1), bias)
    if not attention.computes_maps:
        return None, maps
    query, value = maps.chunk(2, dim=-1)
    return query, value
