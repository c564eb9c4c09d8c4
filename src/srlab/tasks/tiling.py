"""Cuts an image into overlapping tiles, restores each, and joins them without seams.

A network with windows sees the same windows in a tile as in the whole image only if the tile's origin lies
on the network's grid. So tiles, their overlap (the halo) and all cuts are multiples of it. What is kept of a
tile is what lies at least a halo away from its cuts; nothing is blended.

Where cyclic shifts join opposite borders, a tile at a border consists of two pieces of the axis: its own and
the far border's. Its own borders are then those of the image, and the cut between the pieces is a halo away.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from srlab.models.any_scale import AnyScale
from srlab.models.network import Network
from srlab.ops.axis import Axis
from srlab.ops.padding import pad_to_multiple


@dataclass(frozen=True)
class Span:
    """A tile on one axis.

    Attributes:
        pieces: ranges [start, stop) of the axis that the tile consists of, in order.
        start: of the image's positions that are kept.
        stop: likewise, exclusive.
        offset: of ``start`` inside the tile.
    """

    pieces: tuple[tuple[int, int], ...]
    start: int
    stop: int
    offset: int

    @property
    def length(self) -> int:
        """Of the tile, halos included."""
        return sum(stop - start for start, stop in self.pieces)


@dataclass(frozen=True)
class Tiling:
    """How an image of ``size`` (height, width) is cut.

    Attributes:
        size_multiple: the image is padded to multiples of this before it is cut.
        rows: tiles from top to bottom.
        columns: tiles from left to right.
    """

    size: tuple[int, int]
    size_multiple: int
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    @property
    def count(self) -> int:
        """Tiles in all."""
        return len(self.rows) * len(self.columns)

    @property
    def largest(self) -> int:
        """Pixels of the largest tile, halos included."""
        return max(each.length for each in self.rows) * max(each.length for each in self.columns)


@dataclass(frozen=True)
class Cuts:
    """Where images may be cut for a network, in LR pixels.

    Attributes:
        alignment: all cuts are at multiples of this.
        halo: what a tile overlaps its neighbours on each side, a multiple of it.
        wraps: opposite borders of the image are neighbours.
        size_multiple: the image is padded to multiples of this before it is cut.
    """

    alignment: int
    halo: int
    wraps: bool
    size_multiple: int

    def plan(self, size: tuple[int, int], tile: int) -> Tiling:
        """Tiles of an image of ``size`` (height, width).

        ``tile`` is the side of what is kept of a tile, at least 1, rounded up to ``alignment``. An axis on
        which every tile would be as long as the image is not cut.
        """
        rows, columns = (_spans(self, side, round_up(tile, self.alignment)) for side in size)
        return Tiling(size=size, size_multiple=self.size_multiple, rows=rows, columns=columns)


def cuts_of(network: Network, *, exact: bool) -> Cuts:
    """Where images may be cut for ``network``; ``exact``: the halo is its whole receptive reach.

    Raises:
        ValueError: ``exact`` for a network that uses statistics of the whole image, or a network that does
            not declare its receptive field.
    """
    reach = network.reach()
    if exact and reach.pools_globally:
        raise ValueError(
            f"{type(network).__name__} cannot be exact in tiles, as it uses all pixels of the image for "
            f"{' and '.join(reach.pools_globally)}: restore the whole image (tile=0), or tiles without exact"
        )
    return Cuts(
        alignment=reach.alignment,
        halo=reach.full_halo if exact else reach.halo,
        wraps=reach.wraps,
        size_multiple=network.size_multiple if network.pads_image else 1,
    )


def whole(size: tuple[int, int]) -> Tiling:
    """One tile, which the network pads itself."""
    rows, columns = ((Span(pieces=((0, side),), start=0, stop=side, offset=0),) for side in size)
    return Tiling(size=size, size_multiple=1, rows=rows, columns=columns)


def restore_tiles(
    restore: Callable[[Tensor, Axis, Axis], Tensor],
    lr_image: Tensor,
    tiling: Tiling,
    *,
    size: tuple[int, int],
) -> Tensor:
    """Restore tile after tile into one tensor on the image's device.

    Args:
        restore: maps a tile (B, 3, h, w), on any device, to the wanted pixels of the axes.
        lr_image: (B, 3, H, W) in [0, 1].
        tiling: of an image of this size.
        size: height and width of the result.

    Returns:
        (B, 3, *size) in the image's dtype.
    """
    axes = [Axis.whole(lr_side, side) for lr_side, side in zip(tiling.size, size, strict=True)]
    tiles = _tiles(lr_image, tiling, axes)
    if tiling.count == 1:
        return restore(*next(tiles))
    restored = lr_image.new_empty(len(lr_image), 3, *size)
    for tile, rows, columns in tiles:
        # a result that is smaller than the image may have no pixel there
        if rows.first < rows.stop and columns.first < columns.stop:
            place = restored[..., rows.first : rows.stop, columns.first : columns.stop]
            place.copy_(restore(tile, rows, columns))
    return restored


def own_size(network: Network, lr_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the result at the network's own scale."""
    return lr_size[0] * network.scale, lr_size[1] * network.scale


def wanted_pixels(network: Network, part: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """(B, 3, h, w) of a result of any size, or of :func:`own_size` from a network of one scale."""
    if isinstance(network, AnyScale):
        return network.restore_axes(part, rows, columns)
    top, left = network.scale * rows.start, network.scale * columns.start
    return network(part)[..., rows.first - top : rows.stop - top, columns.first - left : columns.stop - left]


def round_up(length: int, multiple: int) -> int:
    """The least multiple that is not below ``length``."""
    return -(-length // multiple) * multiple


def _spans(cuts: Cuts, kept: int, tile: int) -> tuple[Span, ...]:
    """Tiles of an axis of which ``kept`` positions are image; one if all would be whole."""
    length = round_up(kept, cuts.size_multiple)
    spans = [_span(cuts, start, min(start + tile, kept), length) for start in range(0, kept, tile)]
    if all(each.length == length for each in spans):
        return (Span(pieces=((0, length),), start=0, stop=kept, offset=0),)
    return tuple(spans)


def _span(cuts: Cuts, start: int, stop: int, length: int) -> Span:
    """What the positions from ``start`` to ``stop`` of an axis of ``length`` need."""
    grid = cuts.alignment
    first, last = start - cuts.halo, round_up(stop, grid) + cuts.halo
    pieces = [(max(first, 0), min(last, length))]
    if cuts.wraps and first < 0:
        pieces.append((max(length + first, 0) // grid * grid, length))
    if cuts.wraps and last > length:
        pieces.append((0, min(round_up(last - length, grid), length)))
    pieces = _joined(pieces)
    before = sum(end - begin for begin, end in pieces if end <= start)
    begin = next(begin for begin, end in pieces if begin <= start < end)
    return Span(pieces=tuple(pieces), start=start, stop=stop, offset=before + start - begin)


def _joined(pieces: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order, those that overlap or touch as one."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(pieces):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], stop))
        else:
            joined.append((start, stop))
    return joined


def _tiles(lr_image: Tensor, tiling: Tiling, axes: Sequence[Axis]) -> Iterator[tuple[Tensor, Axis, Axis]]:
    """Each tile with the pixels that are kept of its result, row by row."""
    padded = pad_to_multiple(lr_image, tiling.size_multiple)
    for rows, columns in product(tiling.rows, tiling.columns):
        tile = _cut(_cut(padded, rows, axis=-2), columns, axis=-1)
        kept_rows, kept_columns = (
            axis.between(span.start, span.stop, start=span.start - span.offset)
            for axis, span in zip(axes, (rows, columns), strict=True)
        )
        yield tile, kept_rows, kept_columns


def _cut(image: Tensor, span: Span, *, axis: int) -> Tensor:
    parts = [image.narrow(axis, start, stop - start) for start, stop in span.pieces]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=axis)
