"""Labels of points: each next to its point where there is room, else at a distance with a line to it.

Lengths and positions are in points (1/72 inch), y upwards; a box is (left, bottom, right, top).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]

_DIRECTIONS = 16  # in which a label is tried, the first to the right
# Between a marker and its label; from the second on, a line joins them.
_GAPS = (3.0, 8.0, 14.0, 20.0, 27.0, 35.0, 45.0, 60.0, 80.0)
_CLEARANCE = 1.0  # around a label
_CONSIDERED = 24  # of the places that are free, the cheapest, for which crossings are looked for
_ROUNDS = 4  # of choosing each label's place again, all others given
# Costs, in points by which a label may as well be farther away.
_PREFERENCES = (0.0, 1.0, 2.0, 1.5)  # right, above, left, below
_CROSSED_LINE = 10.0  # a line through the text, besides its length
_NEARER_POINT = 10.0  # a point that is nearer to the label than its own
_CROSSED_MARKER = 25.0  # the line to a label passes a marker
_CROSSED_LEADER = 40.0  # or another label, or its line

_ANGLES = 2 * math.pi / _DIRECTIONS * np.arange(_DIRECTIONS)
_TURNS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
# On each axis: 1, the label begins at its distance from the point; -1, it ends there; 0, it is centred.
_SIDES = np.where(np.abs(_TURNS) < 0.3, 0, np.sign(_TURNS))


@dataclass(frozen=True)
class Placement:
    """Where a label is.

    Attributes:
        box: of its text.
        side: edge of the box that keeps its distance from the point where a viewer's font is narrower:
            ``left``, ``right``, or ``center`` for labels above and below.
        leader: where the line from the point ends, at the edge of the box; None without a line.
    """

    box: tuple[float, float, float, float]
    side: str
    leader: tuple[float, float] | None


@dataclass(frozen=True)
class _Candidates:
    """K places for one label. An adjacent one has a leader of length 0, an impossible one infinite costs."""

    boxes: _Array  # (K, 4)
    leaders: _Array  # (K, 4), from (x, y) to (x, y)
    costs: _Array  # (K,)


def place_labels(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    *,
    radius: float,
    bounds: Sequence[float],
    lines: Sequence[tuple[float, float, float, float]] = (),
) -> list[Placement | None]:
    """Place labels so that none intersects another, a marker, or ``bounds``; the same input, the same places.

    Candidates lie in 16 directions at nine distances. The label with the fewest possible ones is placed
    first; then each is placed again while the sum of the costs falls, for at most four rounds.

    Args:
        anchors: centres of the markers.
        sizes: width and height of the labels.
        radius: half the side of a marker.
        bounds: that labels stay within.
        lines: (x, y, x, y) that labels avoid if they can, as error bars.

    Returns:
        One for each label; None where no place is left.
    """
    points = np.array(anchors, dtype=np.float64).reshape(-1, 2)
    avoided = np.array(lines, dtype=np.float64).reshape(-1, 4)
    candidates = [
        _candidates(place, size, points, radius, np.array(bounds), avoided)
        for place, size in enumerate(sizes)
    ]
    boxes, leaders = (np.full((len(points), 4), np.nan) for _ in range(2))  # NaN intersects nothing
    chosen: list[int | None] = [None] * len(points)
    order = sorted(range(len(points)), key=lambda place: np.isfinite(candidates[place].costs).sum())
    for _ in range(_ROUNDS):
        before = list(chosen)
        for place in order:
            boxes[place] = leaders[place] = np.nan
            best = chosen[place] = _cheapest(candidates[place], boxes, leaders)
            if best is not None:
                boxes[place], leaders[place] = candidates[place].boxes[best], candidates[place].leaders[best]
        if chosen == before:
            break
    return [
        None if best is None else _placement(each, best)
        for each, best in zip(candidates, chosen, strict=True)
    ]


def _placement(candidates: _Candidates, chosen: int) -> Placement:
    gap, direction = divmod(chosen, _DIRECTIONS)
    left, bottom, right, top = map(float, candidates.boxes[chosen])
    x, y = map(float, candidates.leaders[chosen, 2:])
    side = ("center", "left", "right")[int(_SIDES[direction, 0])]
    return Placement((left, bottom, right, top), side, (x, y) if gap else None)


def _candidates(
    place: int, size: tuple[float, float], points: _Array, radius: float, bounds: _Array, lines: _Array
) -> _Candidates:
    anchor, gaps = points[place], np.repeat(_GAPS, _DIRECTIONS)[:, None]
    turns, sides = (np.tile(each, (len(_GAPS), 1)) for each in (_TURNS, _SIDES))
    low = anchor + turns * (radius + gaps) + np.array(size) * (sides - 1) / 2
    high = low + size
    boxes = np.concatenate([low, high], axis=1)
    end = np.clip(anchor, low, high)  # the point of the box that is nearest
    start = anchor + (end - anchor) * radius / np.linalg.norm(end - anchor, axis=1, keepdims=True)
    leaders = np.where(gaps > _GAPS[0], np.concatenate([start, end], axis=1), np.tile(anchor, 2))
    preferences = np.interp(_ANGLES / (math.pi / 2), range(5), (*_PREFERENCES, _PREFERENCES[0]))
    costs = gaps[:, 0] - _GAPS[0] + np.tile(preferences, len(_GAPS))
    # and of what does not move: bounds, markers, lines
    markers = np.concatenate([points - radius, points + radius], axis=1)
    outside = (boxes[:, :2] < bounds[:2]).any(1) | (boxes[:, 2:] > bounds[2:]).any(1)
    forbidden = outside | _overlap(boxes, markers).any(1)
    others = np.arange(len(points)) != place
    crossed = _lengths_inside(lines, _grown(boxes)).T
    nearest = np.clip(points, boxes[:, None, :2], boxes[:, None, 2:])
    distances = np.linalg.norm(nearest - points, axis=2)
    fixed_costs = (
        np.where(forbidden, np.inf, 0.0)
        + (crossed + _CROSSED_LINE * (crossed > 0)).sum(1)
        + _NEARER_POINT * (distances < distances[:, place, None] - 0.1).sum(1)
        + _CROSSED_MARKER * (_lengths_inside(leaders, markers[others]) > 0).sum(1)
    )
    return _Candidates(boxes, leaders, costs + fixed_costs)


def _cheapest(found: _Candidates, boxes: _Array, leaders: _Array) -> int | None:
    """The best place beside the labels that are placed, if one is free."""
    costs = np.where(_overlap(found.boxes, boxes).any(1), np.inf, found.costs)
    few = costs.argsort(kind="stable")[:_CONSIDERED]
    crossed = (_lengths_inside(found.leaders[few], _grown(boxes)) > 0).sum(1)
    crossed += (_lengths_inside(leaders, _grown(found.boxes[few])) > 0).sum(0)
    crossed += _cross(found.leaders[few], leaders).sum(1)
    totals = costs[few] + _CROSSED_LEADER * crossed
    best = int(totals.argmin())
    return int(few[best]) if np.isfinite(totals[best]) else None


def _grown(boxes: _Array) -> _Array:
    return boxes + _CLEARANCE * np.array([-1, -1, 1, 1])


def _overlap(one: _Array, other: _Array) -> NDArray[np.bool_]:
    """(K, 4) and (N, 4) to (K, N): whether boxes are less than the clearance apart on both axes."""
    one = _grown(one)
    both = (one[:, None, :2] < other[:, 2:]) & (one[:, None, 2:] > other[:, :2])
    return both[..., 0] & both[..., 1]


def _lengths_inside(segments: _Array, boxes: _Array) -> _Array:
    """(S, 4) and (N, 4) to (S, N): length of the part of a segment that lies in a box."""
    start = segments[:, None, :2]
    along = segments[:, None, 2:] - start
    with np.errstate(divide="ignore", invalid="ignore"):  # Liang and Barsky's clipping
        first, second = (boxes[:, :2] - start) / along, (boxes[:, 2:] - start) / along
    enter = np.fmin(first, second).max(2).clip(0, None)
    leave = np.fmax(first, second).min(2).clip(None, 1)
    return np.nan_to_num((leave - enter).clip(0, None) * np.linalg.norm(along, axis=2))


def _cross(one: _Array, other: _Array) -> NDArray[np.bool_]:
    """(K, 4) and (N, 4) to (K, N): whether segments intersect."""

    def side(segments: _Array, points: _Array) -> _Array:
        along, off = segments[..., 2:] - segments[..., :2], points - segments[..., :2]
        return along[..., 0] * off[..., 1] - along[..., 1] * off[..., 0]

    first, second = one[:, None], other[None]
    return (side(first, second[..., :2]) * side(first, second[..., 2:]) < 0) & (
        side(second, first[..., :2]) * side(second, first[..., 2:]) < 0
    )
