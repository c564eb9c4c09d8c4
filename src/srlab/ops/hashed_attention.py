"""Attention among vectors that locality-sensitive hashing sorts next to one another.

Paper:      Mei et al., "Image Super-Resolution With Non-Local Sparse Attention", CVPR 2021, section 3; the
            hash is that of Andoni et al., "Practical and Optimal LSH for Angular Distance", NeurIPS 2015
Reference:  github.com/HarukiYqM/Non-Local-Sparse-Attention at fb3d4225, src/model/attention.py

Shape legend: B batch, L vectors, E compared and C mixed features, R rounds, D buckets, S chunk size,
P = ceil(L / S) chunks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

#: All rounds and chunks at once, as in the authors' code.
REFERENCE = "reference"
#: One round after another, a few chunks at a time: scores of size L * S are never stored.
STREAMED = "streamed"

# The authors' smallest norm of a key.
_SMALLEST_NORM = 5e-5
# Chunks at a time: 27 MB of scores and values for S = 144 and C = 256 in float32.
_SLAB = 32


def count_buckets(length: int, chunk_size: int, most: int) -> int:
    """An even number of buckets, about as many as there are chunks, from 2 to ``most``.

    The authors' formula, which gives 0 below one chunk, where their code fails.
    """
    chunks = length // chunk_size
    return max(2, min(chunks + chunks % 2, most))


def hash_vectors(vectors: Tensor, rotations: Tensor) -> Tensor:
    """The bucket of each vector in each round: the largest of D / 2 projections and their negatives.

    Args:
        vectors: (B, L, E).
        rotations: (E, R, D / 2).

    Returns:
        (B, R, L), integers below D.
    """
    projected = torch.einsum("ble,erd->brld", vectors, rotations)
    return torch.cat([projected, -projected], dim=-1).argmax(-1)


def attend_in_buckets(
    embedded: Tensor, values: Tensor, rotations: Tensor, *, chunk_size: int, form: str
) -> Tensor:
    """Mix values by similarity within chunks of L vectors sorted by bucket, and with the two chunks beside.

    Each round sorts by its own hash and takes the soft-max of query times normalised key in a ring of chunks.
    The rounds are weighed by the soft-max of their log-denominators. The last vectors fill up the last chunk.
    The hash passes no gradient.

    Args:
        embedded: (B, L, E), queries, and keys once normalised.
        values: (B, L, C).
        rotations: (E, R, D / 2).
        chunk_size: S, or L if that is less.
        form: :data:`REFERENCE` or :data:`STREAMED`, the same function.

    Returns:
        (B, L, C).
    """
    chunk_size = min(chunk_size, embedded.shape[1])
    if form == STREAMED:
        return _streamed(embedded, values, rotations, chunk_size)
    order = _sorted_by_bucket(embedded, rotations, chunk_size)
    mixed, denominators = _attend(embedded, values, order, order)
    mixed, denominators = (_in_place(each, order, embedded.shape[1]) for each in (mixed, denominators))
    return (mixed * torch.softmax(denominators, dim=1)).sum(1)


def _sorted_by_bucket(embedded: Tensor, rotations: Tensor, chunk_size: int) -> Tensor:
    """(B, R, P, S) indices of vectors; those at the end are repeated where chunks are not full."""
    order = hash_vectors(embedded.detach(), rotations).argsort(dim=-1, stable=True)
    missing = -order.shape[-1] % chunk_size
    if missing:
        order = torch.cat([order, order[..., -missing:]], dim=-1)
    return order.unflatten(-1, (-1, chunk_size))


def _attend(embedded: Tensor, values: Tensor, order: Tensor, ring: Tensor) -> tuple[Tensor, Tensor]:
    """Mixed values and log-denominators of the chunks in ``order``.

    Args:
        embedded: (B, L, E).
        values: (B, L, C).
        order: (B, R, P, S), the queries.
        ring: the same, or (B, R, P + 2, S) with the chunk before and the one after.

    Returns:
        (B, R, P, S, C) and (B, R, P, S, 1).
    """
    queries = _gather(embedded, order)
    keys = _with_neighbours(F.normalize(_gather(embedded, ring), dim=-1, eps=_SMALLEST_NORM), queries)
    scores = queries @ keys.transpose(-1, -2)
    denominators = torch.logsumexp(scores, dim=-1, keepdim=True)
    return torch.exp(scores - denominators) @ _with_neighbours(_gather(values, ring), queries), denominators


def _with_neighbours(chunks: Tensor, queries: Tensor) -> Tensor:
    """(B, R, P, 3 S, E): each chunk and those beside it, in a ring or with its ends given."""
    if chunks.shape[2] == queries.shape[2]:
        return torch.cat([chunks, chunks.roll(1, 2), chunks.roll(-1, 2)], dim=3)
    return torch.cat([chunks[:, :, 1:-1], chunks[:, :, :-2], chunks[:, :, 2:]], dim=3)


def _gather(vectors: Tensor, order: Tensor) -> Tensor:
    """(B, L, E) by (B, R, P, S) to (B, R, P, S, E)."""
    index = order.flatten(1)[..., None].expand(-1, -1, vectors.shape[-1])
    return vectors.gather(1, index).unflatten(1, order.shape[1:])


def _in_place(chunks: Tensor, order: Tensor, length: int) -> Tensor:
    """(B, R, P, S, C) sorted to (B, R, L, C) as it was; what filled up the last chunk is dropped."""
    undo = order.flatten(2)[..., :length].argsort(dim=-1)
    return chunks.flatten(2, 3).gather(2, undo[..., None].expand(-1, -1, -1, chunks.shape[-1]))


def _streamed(embedded: Tensor, values: Tensor, rotations: Tensor, chunk_size: int) -> Tensor:
    """Sums over rounds with the largest log-denominator so far (online soft-max)."""
    total, weight = embedded.new_zeros(()), embedded.new_zeros(())
    largest = embedded.new_full((), -torch.inf)
    for rotation in rotations.split(1, dim=1):
        order = _sorted_by_bucket(embedded, rotation, chunk_size)
        ring = torch.cat([order[:, :, -1:], order, order[:, :, :1]], dim=2)
        slabs = [
            _attend(
                embedded, values, order[:, :, start : start + _SLAB], ring[:, :, start : start + _SLAB + 2]
            )
            for start in range(0, order.shape[2], _SLAB)
        ]
        mixed, denominators = (
            _in_place(torch.cat(parts, dim=2), order, embedded.shape[1])[:, 0]
            for parts in zip(*slabs, strict=True)
        )
        top = torch.maximum(largest, denominators)
        before, now = torch.exp(largest - top), torch.exp(denominators - top)
        total, weight, largest = total * before + mixed * now, weight * before + now, top
    return total / weight
