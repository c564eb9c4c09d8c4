"""Attention among tokens that are alike: centres that they gather around, and groups of one size.

Papers:     Liu et al., "CATANet: Efficient Content-Aware Token Aggregation for Lightweight Image
            Super-Resolution", CVPR 2025, arXiv 2503.06896
            Zhang et al., "Transcending the Limit of Local Window: Advanced Super-Resolution Transformer with
            Adaptive Token Dictionary", CVPR 2024, arXiv 2401.08209
References: github.com/EquationWalker/CATANet at fd2222f3, basicsr/archs/catanet_arch.py
            github.com/LabShuHangGU/Adaptive-Token-Dictionary at d25fd845, basicsr/archs/atd_arch.py

Shape legend: B batch, N tokens, C features, E compared features, K centres, M heads, G tokens of a group,
P = ceil(N / G) groups.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from srlab.ops.attention import attention_maps, fused_attention
from srlab.ops.padding import mirrored_positions
from srlab.ops.precision import without_autocast


def nearest_centres(tokens: Tensor, centres: Tensor) -> Tensor:
    """(B, N) the centre that each token of (B, N, C) makes the smallest angle with, of (K, C)."""
    with torch.no_grad(), without_autocast(tokens.device):
        return (F.normalize(tokens, dim=-1) @ F.normalize(centres, dim=-1).T).argmax(-1)


def striped_centres(tokens: Tensor, count: int) -> Tensor:
    """(count, C) means of stripes: ``count`` equal parts of the tokens of every image, one after another.

    The tokens are mirrored at the end to fill the last part, by a whole token each if they would fit already,
    as in the authors' code.
    """
    length = tokens.shape[1]
    filled = (length // count + 1) * count
    positions = mirrored_positions(length, filled, tokens.device)
    parts = rearrange(tokens[:, positions], "b (k n) c -> k (b n) c", k=count)
    total = sum_over_devices(parts.sum(1))
    return total / sum_over_devices(total.new_full((), parts.shape[1]))


def refined_centres(tokens: Tensor, centres: Tensor) -> Tensor:
    """One step of spherical k-means: the normalised sums of the tokens nearest to each of (K, C) centres.

    Tokens (B, N, C) count with length 1, those of all images and devices together. A centre without tokens
    stays, normalised. Gradients flow through the sums.
    """
    nearest = nearest_centres(tokens, centres).flatten()
    tokens, centres = (F.normalize(each, dim=-1) for each in (tokens, centres))
    sums = torch.zeros_like(centres).index_add(0, nearest, tokens.flatten(0, 1).to(centres.dtype))
    counts = centres.new_zeros(len(centres)).index_add(0, nearest, centres.new_ones(len(nearest)))
    sums, counts = sum_over_devices(sums), sum_over_devices(counts)
    return torch.where(counts[:, None] > 0, F.normalize(sums, dim=-1), centres)


def attend_in_groups(
    query: Tensor, key: Tensor, value: Tensor, order: Tensor, *, group_size: int, num_heads: int, backend: str
) -> tuple[Tensor, Tensor]:
    """Attention of each group of sorted tokens to itself and the group after it.

    The sorted tokens are mirrored at the end, to fill the last group and to follow it.

    Args:
        query: (B, N, E).
        key: (B, N, E).
        value: (B, N, C).
        order: (B, N) tokens in the order in which they are divided into groups.
        group_size: G, or N if that is less.
        num_heads: M.
        backend: ``reference`` or ``sdpa``, the same function.

    Returns:
        What is mixed and the queries, in order: (B, M, P * G, C / M) and (B, M, P * G, E / M).
    """
    length = order.shape[1]
    group_size = min(group_size, length)
    filled = -(-length // group_size) * group_size
    extended = order[:, mirrored_positions(length, filled + group_size, order.device)]
    query, key, value = _sorted(query, extended[:, :filled]), _sorted(key, extended), _sorted(value, extended)
    queries = rearrange(query, "b (p g) (m d) -> (b p) m g d", g=group_size, m=num_heads)
    keys, values = (
        rearrange(each.unfold(1, 2 * group_size, group_size), "b p (m d) g -> (b p) m g d", m=num_heads)
        for each in (key, value)
    )
    mixed = attend(queries, keys, values, backend)
    mixed, queries = (
        rearrange(each, "(b p) m g d -> b m (p g) d", b=len(order)) for each in (mixed, queries)
    )
    return mixed, queries


def attend_in_own_groups(
    qkv: Tensor, order: Tensor, *, group_size: int, num_heads: int, scale: Tensor, backend: str
) -> Tensor:
    """Attention of each group of sorted tokens to itself alone: ATD's categories.

    The sorted tokens are mirrored at the end, to fill the last group.

    Args:
        qkv: (B, N, 3C), queries, keys and values.
        order: (B, N) tokens in the order in which they are divided into groups.
        group_size: G, or N if that is less.
        num_heads: M.
        scale: multiplies the logits, a tensor of one element.
        backend: ``reference`` or ``sdpa``, the same function.

    Returns:
        (B, N, C), in the order of ``qkv``.
    """
    length = order.shape[1]
    group_size = min(group_size, length)
    filled = -(-length // group_size) * group_size
    extended = order[:, mirrored_positions(length, filled, order.device)]
    query, key, value = rearrange(
        _sorted(qkv, extended),
        "b (p g) (three m d) -> three (b p) m g d",
        three=3,
        g=group_size,
        m=num_heads,
    )
    query = query * scale
    maps = backend == "reference"
    mixed = attention_maps(query, key) @ value if maps else fused_attention(query, key, value)
    return in_place(rearrange(mixed, "(b p) m g d -> b (p g) (m d)", b=len(order))[:, :length], order)


def attend(query: Tensor, key: Tensor, value: Tensor, backend: str) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for (batch, heads, T, d), the values of any width.

    Widths that differ are made equal by zeros: PyTorch's kernels without maps take no others.
    """
    width, scale = value.shape[-1], query.shape[-1] ** -0.5
    if backend == "reference":
        return attention_maps(query, key, scale=scale) @ value
    widest = max(width, query.shape[-1])
    query, key, value = (F.pad(each, (0, widest - each.shape[-1])) for each in (query, key, value))
    return fused_attention(query, key, value, scale=scale)[..., :width]


def in_place(tokens: Tensor, order: Tensor) -> Tensor:
    """(B, N, C) sorted by ``order`` to the order in which they were."""
    return torch.empty_like(tokens).scatter(1, order[..., None].expand_as(tokens), tokens)


def sum_over_devices(value: Tensor) -> Tensor:
    """The sum of ``value`` over all processes, each of which must call this equally often; alone, the same.

    Its gradient is the sum of theirs, of which distributed training takes the mean: a function of sums over
    the joined batch trains as on one device.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return value
    return _summed(value)  # type: ignore[arg-type]


# compilers cannot trace collective operations
@torch.compiler.disable
def _summed(value: Tensor) -> Tensor:
    return _Sum.apply(value)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ARG004 as PyTorch calls it
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradients[0])


def _sorted(tokens: Tensor, order: Tensor) -> Tensor:
    """(B, N, C) by (B, L) to (B, L, C)."""
    return tokens.gather(1, order[..., None].expand(-1, -1, tokens.shape[-1]))
