"""Gradients of attention inside windows: maps are computed again, block by block, never stored.

Windows that fit into one tile take a kernel that holds everything of a window at once. Larger ones take one
in which a program owns a block of tokens, as queries and as keys, so that nothing is added up in memory.
"""
# ruff: noqa: N803, N806 - constants of a kernel are written in capitals
# Triton turns numbers into constants and unrolls loops over them, which its annotations cannot say:
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportCallIssue=false

import triton
import triton.language as tl

from srlab.extensions.kernels.triton.placement import Extent, View, locate, logits_between, read, write

__all__ = ["block_bias_gradient", "block_gradients", "window_gradients"]


@triton.jit
def window_gradients(
    query: View,
    key: View,
    value: View,
    gradient: View,
    to_query: View,
    to_key: View,
    to_value: View,
    bias: tl.tensor,
    to_bias: tl.tensor,
    extent: Extent,
    heads: tl.tensor,
    scale: tl.tensor,
    SIDE: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    PACK: tl.constexpr,
    BLOCK: tl.constexpr,
    GROUPS: tl.constexpr,
    SHARED: tl.constexpr,
    BIAS: tl.constexpr,
    BIAS_GRADIENT: tl.constexpr,
    MASKED: tl.constexpr,
    ALIGNED: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """``GROUPS`` times ``PACK`` windows one after the other; ``to_bias`` is (parts, heads, T, T)."""
    program = tl.program_id(0)
    head = program % heads
    rows = tl.arange(0, BLOCK)
    bias_sum = tl.zeros((BLOCK, BLOCK), tl.float32)
    for group in range(GROUPS):
        at = locate((program // heads * GROUPS + group) * PACK, rows, extent, SIDE, PACK)
        q = read(query, at, head, WIDTH, PADDED, ALIGNED)
        k = q if SHARED else read(key, at, head, WIDTH, PADDED, ALIGNED)
        v = read(value, at, head, WIDTH, PADDED, ALIGNED)
        g = read(gradient, at, head, WIDTH, PADDED, ALIGNED)
        logits = logits_between(q, k, at, at, bias, head, scale, SIDE, PACK, BIAS, MASKED, PRECISION)
        weights = tl.exp(logits - tl.max(logits, 1)[:, None])
        weights = weights / tl.sum(weights, 1)[:, None]
        v_part = tl.dot(tl.trans(weights.to(g.dtype)), g, input_precision=PRECISION)
        write(v_part, to_value, at, head, WIDTH, PADDED, ALIGNED)
        to_weights = tl.dot(g, tl.trans(v), input_precision=PRECISION)
        to_logits = weights * (to_weights - tl.sum(weights * to_weights, 1)[:, None])
        if BIAS_GRADIENT:
            bias_sum += to_logits
        to_logits = to_logits * scale
        if SHARED:
            both = (to_logits + tl.trans(to_logits)).to(q.dtype)
            write(tl.dot(both, q, input_precision=PRECISION), to_query, at, head, WIDTH, PADDED, ALIGNED)
        else:
            to_logits = to_logits.to(q.dtype)
            q_part = tl.dot(to_logits, k, input_precision=PRECISION)
            write(q_part, to_query, at, head, WIDTH, PADDED, ALIGNED)
            k_part = tl.dot(tl.trans(to_logits), q, input_precision=PRECISION)
            write(k_part, to_key, at, head, WIDTH, PADDED, ALIGNED)
    if BIAS_GRADIENT:
        TOKENS: tl.constexpr = SIDE * SIDE
        start = program.to(tl.int64) * (TOKENS * TOKENS)
        inside = (rows < TOKENS)[:, None] & (rows < TOKENS)[None, :]
        tl.store(to_bias + start + rows[:, None] * TOKENS + rows[None, :], bias_sum, mask=inside)


@triton.jit
def block_gradients(
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
    BIAS: tl.constexpr,
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
    at = locate(window, program % BLOCKS * BLOCK + tl.arange(0, BLOCK), extent, SIDE, 1)
    q = read(query, at, head, WIDTH, PADDED, ALIGNED)
    k = q if SHARED else read(key, at, head, WIDTH, PADDED, ALIGNED)
    v = read(value, at, head, WIDTH, PADDED, ALIGNED)
    g = read(gradient, at, head, WIDTH, PADDED, ALIGNED)
    own = (head.to(tl.int64) * extent.windows + window) * TOKENS
    best = tl.load(maxima + own + at.token, mask=at.inside, other=0.0)
    total = tl.load(sums + own + at.token, mask=at.inside, other=1.0)
    product = tl.load(products + own + at.token, mask=at.inside, other=0.0)
    q_sum = tl.zeros((BLOCK, PADDED), tl.float32)
    k_sum = tl.zeros((BLOCK, PADDED), tl.float32)
    v_sum = tl.zeros((BLOCK, PADDED), tl.float32)
    for start in range(0, TOKENS, BLOCK):
        to = locate(window, start + tl.arange(0, BLOCK), extent, SIDE, 1)
        other_q = read(query, to, head, WIDTH, PADDED, ALIGNED)
        other_v = read(value, to, head, WIDTH, PADDED, ALIGNED)
        other_g = read(gradient, to, head, WIDTH, PADDED, ALIGNED)
        other_k = other_q if SHARED else read(key, to, head, WIDTH, PADDED, ALIGNED)
        logits = logits_between(q, other_k, at, to, bias, head, scale, SIDE, 1, BIAS, MASKED, PRECISION)
        weights = tl.exp(logits - best[:, None]) / total[:, None]
        to_weights = tl.dot(g, tl.trans(other_v), input_precision=PRECISION)
        to_logits = weights * (to_weights - product[:, None]) * scale
        if not SHARED:
            q_sum = tl.dot(to_logits.to(q.dtype), other_k, q_sum, input_precision=PRECISION)
        if (not SHARED) or BIAS != "none":
            logits = logits_between(
                k, other_q, at, to, bias_by_key, head, scale, SIDE, 1, BIAS, MASKED, PRECISION
            )
        other_best = tl.load(maxima + own + to.token, mask=to.inside, other=0.0)
        other_total = tl.load(sums + own + to.token, mask=to.inside, other=1.0)
        other_product = tl.load(products + own + to.token, mask=to.inside, other=0.0)
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
def block_bias_gradient(
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
    SHARED: tl.constexpr,
    BIAS: tl.constexpr,
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
        at = locate(window, rows, extent, SIDE, 1)
        to = locate(window, columns, extent, SIDE, 1)
        q = read(query, at, head, WIDTH, PADDED, ALIGNED)
        k = (
            read(query, to, head, WIDTH, PADDED, ALIGNED)
            if SHARED
            else read(key, to, head, WIDTH, PADDED, ALIGNED)
        )
        v = read(value, to, head, WIDTH, PADDED, ALIGNED)
        g = read(gradient, at, head, WIDTH, PADDED, ALIGNED)
        own = (head.to(tl.int64) * extent.windows + window) * TOKENS
        best = tl.load(maxima + own + at.token, mask=at.inside, other=0.0)
        total = tl.load(sums + own + at.token, mask=at.inside, other=1.0)
        product = tl.load(products + own + at.token, mask=at.inside, other=0.0)
        logits = logits_between(q, k, at, to, bias, head, scale, SIDE, 1, BIAS, MASKED, PRECISION)
        weights = tl.exp(logits - best[:, None]) / total[:, None]
        to_weights = tl.dot(g, tl.trans(v), input_precision=PRECISION)
        tile_sum += weights * (to_weights - product[:, None])
    inside = (rows < TOKENS)[:, None] & (columns < TOKENS)[None, :]
    entries = part.to(tl.int64) * (TOKENS * TOKENS) + rows[:, None] * TOKENS + columns[None, :]
    tl.store(to_bias + entries, tile_sum, mask=inside)
