"""Where the tokens of a window lie in a map: arithmetic that takes the place of rolls and of cut windows.

Device code, called by the kernels. A tile holds tokens of one window.

Shape legend: S side of the windows, T = S * S tokens of a window, d channels of a head.
"""
# ruff: noqa: N803, N806 - constants of a kernel are written in capitals
# Triton turns numbers into constants and unrolls loops over them, which its annotations cannot say:
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportCallIssue=false

from typing import Any, NamedTuple

import triton
import triton.language as tl
from torch import Tensor

# Added to the logits of tokens that only the cyclic shift made neighbours, as in srlab.ops.attention.
_FOREIGN = tl.constexpr(-100.0)
# Stands for minus infinity where a tile has more columns than there are keys: finite, so that rows without
# any key, which are never stored, have no NaN that a product could spread.
_EXCLUDED = tl.constexpr(-1e38)


class View(NamedTuple):
    """A (B, H, W, C) map with its channels side by side; strides and offset in elements."""

    storage: Any  # the first element of the memory, which is aligned
    offset: int
    image: int
    row: int
    column: int


class Extent(NamedTuple):
    """Size of the map, number of its windows in the whole batch, and their cyclic shift in pixels."""

    height: int
    width: int
    windows: int
    shift: int


class Place(NamedTuple):
    """Of each token in a tile: whether it exists, its number in the window, its pixel, its region."""

    inside: Any
    token: Any
    image: Any
    row: Any
    column: Any
    region: Any


def view_of(tensor: Tensor) -> View:
    """A map (B, H, W, C) for the kernels."""
    return View(tensor.as_strided((1,), (1,), 0), int(tensor.storage_offset()), *tensor.stride()[:3])


@triton.jit
def locate(window: tl.tensor, token: tl.tensor, extent: Extent, SIDE: tl.constexpr) -> Place:
    """Places of some tokens of a window; windows are counted through the batch, row by row."""
    columns_of_windows = extent.width // SIDE
    windows_of_image = (extent.height // SIDE) * columns_of_windows
    within = window % windows_of_image
    row = (within // columns_of_windows) * SIDE + token // SIDE
    column = (within % columns_of_windows) * SIDE + token % SIDE
    region = _region(row, extent.height, extent, SIDE) * 3 + _region(column, extent.width, extent, SIDE)
    row = row + extent.shift
    column = column + extent.shift
    return Place(
        # no "and" with a condition on one window: Triton 3.9 interprets it as a whole number
        inside=token < tl.where(window < extent.windows, SIDE * SIDE, 0),
        token=token,
        image=window // windows_of_image,
        row=tl.where(row >= extent.height, row - extent.height, row),
        column=tl.where(column >= extent.width, column - extent.width, column),
        region=region,
    )


@triton.jit
def _region(position: tl.tensor, length: tl.tensor, extent: Extent, SIDE: tl.constexpr) -> tl.tensor:
    """Which region positions of a shifted axis come from: 0, 1 or 2."""
    return (position >= length - SIDE).to(tl.int32) + (position >= length - extent.shift).to(tl.int32)


@triton.jit
def _elements(
    view: View,
    place: Place,
    head: tl.tensor,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    ALIGNED: tl.constexpr,
) -> tl.tensor:
    """(tokens, PADDED) pointers to the channels of a head; maps may hold more than 2**31 elements."""
    start = place.image.to(tl.int64) * view.image + place.row.to(tl.int64) * view.row
    start = start + place.column.to(tl.int64) * view.column + (view.offset + head * WIDTH)
    # Every term is a multiple of ALIGNED, which the compiler cannot know: without it, loads are of 2 bytes.
    start = tl.multiple_of(start, ALIGNED)
    return view.storage + (start[:, None] + tl.arange(0, PADDED)[None, :])


@triton.jit
def read(
    view: View,
    place: Place,
    head: tl.tensor,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    ALIGNED: tl.constexpr,
) -> tl.tensor:
    """(tokens, PADDED) channels of a head; zero where there is no token or no channel."""
    mask = place.inside[:, None] & (tl.arange(0, PADDED) < WIDTH)[None, :]
    return tl.load(_elements(view, place, head, WIDTH, PADDED, ALIGNED), mask=mask, other=0.0)


@triton.jit
def write(
    tile: tl.tensor,
    view: View,
    place: Place,
    head: tl.tensor,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    ALIGNED: tl.constexpr,
) -> None:
    """Inverse of :func:`read`, in the dtype of the map."""
    mask = place.inside[:, None] & (tl.arange(0, PADDED) < WIDTH)[None, :]
    pointers = _elements(view, place, head, WIDTH, PADDED, ALIGNED)
    tl.store(pointers, tile.to(view.storage.dtype.element_ty), mask=mask)


@triton.jit
def logits_between(
    queries: tl.tensor,
    keys: tl.tensor,
    rows: Place,
    columns: Place,
    bias: tl.tensor,
    head: tl.tensor,
    scale: tl.tensor,
    SIDE: tl.constexpr,
    BIASED: tl.constexpr,
    MASKED: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """(queries, keys) logits in float32: ELAN's reach 1e6, which no smaller dtype holds.

    ``bias`` has one value for each distance, (heads, 2S - 1, 2S - 1), query minus key.
    """
    logits = tl.dot(queries, tl.trans(keys), input_precision=PRECISION) * scale
    SPAN: tl.constexpr = 2 * SIDE - 1
    if BIASED:
        pairs = rows.inside[:, None] & columns.inside[None, :]
        # (y, x) as one number y * SPAN + x: a difference of two such numbers is that of y and of x
        start = rows.token // SIDE * SPAN + rows.token % SIDE + (SIDE - 1) * (SPAN + 1)
        back = columns.token // SIDE * SPAN + columns.token % SIDE
        entries = head * (SPAN * SPAN) + start[:, None] - back[None, :]
        logits += tl.load(bias + entries, mask=pairs, other=0.0)
    if MASKED:
        logits += tl.where(rows.region[:, None] != columns.region[None, :], _FOREIGN, 0.0)
    return tl.where(columns.inside[None, :], logits, _EXCLUDED)
