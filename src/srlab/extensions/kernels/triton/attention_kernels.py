"""Attention inside windows, forward: no maps in memory, soft-max and sums in float32.

The row of a query is soft-maxed block of keys by block of keys, as in FlashAttention (Dao et al., 2022,
arXiv 2205.14135): earlier sums are scaled down whenever a larger logit follows.
"""
# ruff: noqa: N803, N806 - constants of a kernel are written in capitals
# Triton turns numbers into constants and unrolls loops over them, which its annotations cannot say:
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportCallIssue=false

import triton
import triton.language as tl

from srlab.extensions.kernels.triton.placement import Extent, View, locate, logits_between, read, write


@triton.jit
def attend(
    query: View,
    key: View,
    value: View,
    mixed: View,
    bias: tl.tensor,
    maxima: tl.tensor,
    sums: tl.tensor,
    extent: Extent,
    heads: tl.tensor,
    scale: tl.tensor,
    SIDE: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BIASED: tl.constexpr,
    MASKED: tl.constexpr,
    KEEP: tl.constexpr,
    ALIGNED: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """A block of queries against all keys of its window.

    ``KEEP`` writes the largest logit and the sum of each row, (heads, tokens): apart, because their
    log-sum-exp would be off by 0.03 where logits reach 1e6.
    """
    TOKENS: tl.constexpr = SIDE * SIDE
    BLOCKS: tl.constexpr = (TOKENS + BLOCK - 1) // BLOCK
    program = tl.program_id(0)
    head = program // BLOCKS % heads
    window = program // BLOCKS // heads
    at = locate(window, program % BLOCKS * BLOCK + tl.arange(0, BLOCK), extent, SIDE)
    q = read(query, at, head, WIDTH, PADDED, ALIGNED)
    best = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    gathered = tl.zeros((BLOCK, PADDED), tl.float32)
    for start in range(0, TOKENS, BLOCK_K):
        to = locate(window, start + tl.arange(0, BLOCK_K), extent, SIDE)
        k = read(key, to, head, WIDTH, PADDED, ALIGNED)
        logits = logits_between(q, k, at, to, bias, head, scale, SIDE, BIASED, MASKED, PRECISION)
        larger = tl.maximum(best, tl.max(logits, 1))
        weights = tl.exp(logits - larger[:, None])
        rescale = tl.exp(best - larger)
        v = read(value, to, head, WIDTH, PADDED, ALIGNED)
        total = total * rescale + tl.sum(weights, 1)
        gathered = gathered * rescale[:, None]
        gathered = tl.dot(weights.to(v.dtype), v, gathered, input_precision=PRECISION)
        best = larger
    write(gathered / total[:, None], mixed, at, head, WIDTH, PADDED, ALIGNED)
    if KEEP:
        entries = (head.to(tl.int64) * extent.windows + window) * TOKENS + at.token
        tl.store(maxima + entries, best, mask=at.inside)
        tl.store(sums + entries, total, mask=at.inside)
