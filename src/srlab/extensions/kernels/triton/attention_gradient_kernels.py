"""Gradients of attention inside windows: maps are computed again, block by block, never stored.

A program owns a block of tokens, as queries and as keys, so that nothing is added up in memory.
"""
# ruff: noqa: N803, N806 - constants of a kernel are written in capitals
# Triton turns numbers into constants and unrolls loops over them, which its annotations cannot say:
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportCallIssue=false

import triton
import triton.language as tl

from srlab.extensions.kernels.triton.placement import Extent, Place, View, locate, logits_between, read, write


@triton.jit
def attend_gradients(
    query: View,
    key: View,
    value: View,
    gradient: View,
    to_query: View,
    to_key: View,
    to_value: View,
    bias: tl.tensor,
    bias_by_key: tl.tensor,
    maxima: tl.tensor,
    sums: tl.tensor,
    products: tl.tensor,
    extent: Extent,
    heads: tl.tensor,
    scale: tl.tensor,
    SIDE: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
    SHARED: tl.constexpr,
    BIASED: tl.constexpr,
    MASKED: tl.constexpr,
    ALIGNED: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """One block of tokens of a window against all its blocks, first as queries, then as keys.

    Both tiles have the own tokens as rows, so that none is transposed; ``bias_by_key`` is the bias with the
    roles of query and key exchanged. Queries that serve as keys have symmetric logits without a
    bias: computed once.
    """
    TOKENS: tl.constexpr = SIDE * SIDE
    BLOCKS: tl.constexpr = (TOKENS + BLOCK - 1) // BLOCK
    program = tl.program_id(0)
    head = program // BLOCKS % heads
    window = program // BLOCKS // heads
    at = locate(window, program % BLOCKS * BLOCK + tl.arange(0, BLOCK), extent, SIDE)
    q = read(query, at, head, WIDTH, PADDED, ALIGNED)
    k = q if SHARED else read(key, at, head, WIDTH, PADDED, ALIGNED)
    v = read(value, at, head, WIDTH, PADDED, ALIGNED)
    g = read(gradient, at, head, WIDTH, PADDED, ALIGNED)
    own = (head.to(tl.int64) * extent.windows + window) * TOKENS
    best, total, product = _row_statistics(maxima, sums, products, own, at)
    q_sum = tl.zeros((BLOCK, PADDED), tl.float32)
    k_sum = tl.zeros((BLOCK, PADDED), tl.float32)
    v_sum = tl.zeros((BLOCK, PADDED), tl.float32)
    for start in range(0, TOKENS, BLOCK):
        to = locate(window, start + tl.arange(0, BLOCK), extent, SIDE)
        other_q = read(query, to, head, WIDTH, PADDED, ALIGNED)
        other_v = read(value, to, head, WIDTH, PADDED, ALIGNED)
        other_g = read(gradient, to, head, WIDTH, PADDED, ALIGNED)
        other_k = other_q if SHARED else read(key, to, head, WIDTH, PADDED, ALIGNED)
        logits = logits_between(q, other_k, at, to, bias, head, scale, SIDE, BIASED, MASKED, PRECISION)
        weights = tl.exp(logits - best[:, None]) / total[:, None]
        to_weights = tl.dot(g, tl.trans(other_v), input_precision=PRECISION)
        to_logits = weights * (to_weights - product[:, None]) * scale
        if not SHARED:
            q_sum = tl.dot(to_logits.to(q.dtype), other_k, q_sum, input_precision=PRECISION)
        if (not SHARED) or BIASED:
            logits = logits_between(
                k, other_q, at, to, bias_by_key, head, scale, SIDE, BIASED, MASKED, PRECISION
            )
        other_best, other_total, other_product = _row_statistics(maxima, sums, products, own, to)
        weights = tl.exp(logits - other_best[None, :]) / other_total[None, :]
        v_sum = tl.dot(weights.to(g.dtype), other_g, v_sum, input_precision=PRECISION)
        to_weights = tl.dot(v, tl.trans(other_g), input_precision=PRECISION)
        back_to_logits = weights * (to_weights - other_product[None, :]) * scale
        if SHARED:
            both = (to_logits + back_to_logits).to(q.dtype)
            q_sum = tl.dot(both, other_q, q_sum, input_precision=PRECISION)
        else:
            k_sum = tl.dot(back_to_logits.to(q.dtype), other_q, k_sum, input_precision=PRECISION)
    write(q_sum, to_query, at, head, WIDTH, PADDED, ALIGNED)
    write(v_sum, to_value, at, head, WIDTH, PADDED, ALIGNED)
    if not SHARED:
        write(k_sum, to_key, at, head, WIDTH, PADDED, ALIGNED)


@triton.jit
def bias_gradient(
    query: View,
    key: View,
    value: View,
    gradient: View,
    bias: tl.tensor,
    to_bias: tl.tensor,
    maxima: tl.tensor,
    sums: tl.tensor,
    products: tl.tensor,
    extent: Extent,
    heads: tl.tensor,
    scale: tl.tensor,
    SIDE: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
    GROUPS: tl.constexpr,
    BIASED: tl.constexpr,
    MASKED: tl.constexpr,
    ALIGNED: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """A tile of the bias's gradient, summed over ``GROUPS`` windows; ``to_bias`` is (parts, heads, T, T).

    It computes two of the products again; the other way, adding every window's tile in memory, moves
    4 T * T bytes for each window and head.
    """
    TOKENS: tl.constexpr = SIDE * SIDE
    BLOCKS: tl.constexpr = (TOKENS + BLOCK - 1) // BLOCK
    program = tl.program_id(0)
    rows = program // BLOCKS % BLOCKS * BLOCK + tl.arange(0, BLOCK)
    columns = program % BLOCKS * BLOCK + tl.arange(0, BLOCK)
    part = program // BLOCKS // BLOCKS
    head = part % heads
    tile_sum = tl.zeros((BLOCK, BLOCK), tl.float32)
    for group in range(GROUPS):
        window = part // heads * GROUPS + group
        at = locate(window, rows, extent, SIDE)
        to = locate(window, columns, extent, SIDE)
        q = read(query, at, head, WIDTH, PADDED, ALIGNED)
        k = read(key, to, head, WIDTH, PADDED, ALIGNED)
        v = read(value, to, head, WIDTH, PADDED, ALIGNED)
        g = read(gradient, at, head, WIDTH, PADDED, ALIGNED)
        own = (head.to(tl.int64) * extent.windows + window) * TOKENS
        best, total, product = _row_statistics(maxima, sums, products, own, at)
        logits = logits_between(q, k, at, to, bias, head, scale, SIDE, BIASED, MASKED, PRECISION)
        weights = tl.exp(logits - best[:, None]) / total[:, None]
        to_weights = tl.dot(g, tl.trans(v), input_precision=PRECISION)
        tile_sum += weights * (to_weights - product[:, None])
    inside = (rows < TOKENS)[:, None] & (columns < TOKENS)[None, :]
    entries = part.to(tl.int64) * (TOKENS * TOKENS) + rows[:, None] * TOKENS + columns[None, :]
    tl.store(to_bias + entries, tile_sum, mask=inside)


@triton.jit
def _row_statistics(
    maxima: tl.tensor, sums: tl.tensor, products: tl.tensor, first: tl.tensor, place: Place
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Largest logit, sum of weights and output times gradient of the rows of some tokens of a window."""
    entries = first + place.token
    best = tl.load(maxima + entries, mask=place.inside, other=0.0)
    total = tl.load(sums + entries, mask=place.inside, other=1.0)
    return best, total, tl.load(products + entries, mask=place.inside, other=0.0)
