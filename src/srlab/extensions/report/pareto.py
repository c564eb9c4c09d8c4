"""PSNR against what it costs, with the Pareto front."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from srlab.extensions.report.ablation import cost_columns, mean_psnr
from srlab.extensions.report.comparison import Comparison, Configuration, as_comparison
from srlab.extensions.report.drawing import INK, STYLE, new_figure, series_color
from srlab.extensions.report.labels import Placement, place_labels
from srlab.extensions.report.latencies import latency_source
from srlab.extensions.report.runs import Run
from srlab.extensions.report.tables import Estimate

# Cost in `pareto_figure`: column of the ablation table, title of the axis.
COSTS = {
    "latency": ("latency_ms", "latency (ms)"),
    "multiply_adds": ("multiply_adds", "multiply-adds at 1280x720 (G)"),
    "params": ("params", "parameters (K)"),
}
_MOST_LABELS = 12  # configurations that a plot names in words; with more, each has its row's number alone
_LONGEST_LABEL = 26  # characters
_MARKER_SIZE, _LABEL_SIZE = 7, 7.5  # points
_FONT_RESERVE = 1.06  # text is written in a viewer's font, which may be wider than the one measured here


@dataclass(frozen=True)
class Point:
    """One configuration in a plot; cost and its 10th and 90th percentile in the axis's unit."""

    configuration: Configuration
    cost: float
    low: float
    high: float
    psnr: Estimate
    on_front: bool


@matplotlib.rc_context(STYLE)
def pareto_figure(runs: Comparison | Sequence[Run], *, against: str = "latency") -> Figure:
    """PSNR (mean of the sets, over seeds) against one cost, with the Pareto front.

    Args:
        runs: a comparison, or runs to compare.
        against: ``latency``, ``multiply_adds`` or ``params``.

    Raises:
        ValueError: an unknown cost, or no run has both it and a score.
    """
    if against not in COSTS:
        raise ValueError(f"against={against!r} is not a cost; choose one of {', '.join(COSTS)}")
    comparison = as_comparison(runs)
    points = pareto_points(comparison, against)
    if not points:
        raise ValueError(f"no finished run has a {COSTS[against][1]}: nothing to plot PSNR against")
    costs = [point.cost for point in points]
    figure, (axes,) = new_figure(1)
    _draw_points(axes, points)
    axes.set(xlabel=axis_title(comparison, against), ylabel="PSNR (dB)")
    if min(costs) > 0 and max(costs) > 10 * min(costs):
        axes.set_xscale("log")
    axes.margins(0.2, 0.16)
    # one line of any text, so that the axes keep their place when it is known
    title = axes.set_title("rows", fontsize=7.5, loc="left", color=INK["muted"], parse_math=False)
    title.set_text(_label_points(figure, axes, points, [each.label for each in comparison.parameters]))
    return figure


def _draw_points(axes: Axes, points: Sequence[Point]) -> None:
    front = sorted((point.cost, point.psnr.mean) for point in points if point.on_front)
    axes.plot(*zip(*front, strict=True), color=INK["muted"], lw=1.2, ls="--", gid="front", zorder=1)
    for point in sorted(points, key=lambda point: point.psnr.mean):
        number = point.configuration.number
        bars = axes.errorbar(
            point.cost,
            point.psnr.mean,
            xerr=[[point.cost - point.low], [point.high - point.cost]] if point.low < point.high else None,
            yerr=point.psnr.std,
            elinewidth=1,
            capsize=2,
            color=series_color(number),
            linestyle="none",
            marker="o" if point.on_front else "X",
            markersize=_MARKER_SIZE if point.on_front else _MARKER_SIZE - 1,
        )
        for part_number, part in enumerate(bars.get_children()):
            part.set_gid(f"bars-{number}-part{part_number}" if part_number else f"point-{number}")


def _label_points(figure: Figure, axes: Axes, points: Sequence[Point], parameters: Sequence[str]) -> str:
    """Write row and values next to each point, or rows alone if there is no room; returns what they are."""
    values = [", ".join(point.configuration.values) for point in points]
    rows = [str(point.configuration.number) for point in points]
    texts = [f"{row}: {each}" if each else row for row, each in zip(rows, values, strict=True)]
    figure.draw_without_rendering()  # places the axes
    places: list[Placement | None] = [None]
    if len(points) <= _MOST_LABELS and max(map(len, values)) <= _LONGEST_LABEL:
        places = _places(axes, points, texts)
    if None not in places:
        meaning = f"labels are row: {', '.join(parameters)}" if parameters else ""
    else:
        texts, meaning = rows, "labels are rows of the table"
        places = _places(axes, points, rows)
        if missing := places.count(None):
            meaning += f"; no room for those of {missing} points"
    for point, text, place in zip(points, texts, places, strict=True):
        if place is not None:
            _write_label(axes, point, text, place)
    return meaning


def _places(axes: Axes, points: Sequence[Point], texts: Sequence[str]) -> list[Placement | None]:
    """In points from the lower left corner of the figure; axes must have their final place."""
    anchors = [_position(axes, point.cost, point.psnr.mean) for point in points]
    lines = []
    for point in points:
        cost, psnr, std = point.cost, point.psnr.mean, point.psnr.std or 0.0
        bars = ((point.low, psnr), (point.high, psnr)), ((cost, psnr - std), (cost, psnr + std))
        lines += [(*_position(axes, *start), *_position(axes, *end)) for start, end in bars]
    front = sorted(place for place, point in zip(anchors, points, strict=True) if point.on_front)
    lines.extend((*start, *end) for start, end in itertools.pairwise(front))
    return place_labels(
        anchors,
        [_text_size(axes, text) for text in texts],
        radius=_MARKER_SIZE / 2 + 0.5,  # and its edge
        bounds=[each * (72 / axes.figure.dpi) for each in axes.bbox.extents],
        lines=lines,
    )


def _position(axes: Axes, cost: float, psnr: float) -> tuple[float, float]:
    x, y = axes.transData.transform((cost, psnr)) * 72 / axes.figure.dpi
    return float(x), float(y)


def _text_size(axes: Axes, text: str) -> tuple[float, float]:
    artist = axes.text(0, 0, text, fontsize=_LABEL_SIZE, parse_math=False)
    box = artist.get_window_extent()
    artist.remove()
    unit = 72 / axes.figure.dpi
    return _FONT_RESERVE * box.width * unit, box.height * unit


def _write_label(axes: Axes, point: Point, text: str, place: Placement) -> None:
    number, anchor = point.configuration.number, (point.cost, point.psnr.mean)
    left, bottom, right, top = place.box
    x, y = _position(axes, *anchor)
    start = {"left": left, "right": right, "center": (left + right) / 2}[place.side]
    line = None
    if place.leader is not None:
        ends = ((place.leader[0] - left) / (right - left), (place.leader[1] - bottom) / (top - bottom))
        line = {
            "arrowstyle": "-", "color": series_color(number), "linewidth": 0.7, "relpos": ends,
            "shrinkA": 0.5, "shrinkB": _MARKER_SIZE / 2, "gid": f"leader-{number}",
        }  # fmt: skip
    label = axes.annotate(
        text,
        anchor,
        (start - x, bottom - y),
        textcoords="offset points",
        arrowprops=line,
        annotation_clip=False,
        fontsize=_LABEL_SIZE,
        ha=place.side,
        va="bottom",
        gid=f"label-{number}",
        parse_math=False,  # values of parameters are text
    )
    label.set_in_layout(False)


def axis_title(comparison: Comparison, cost: str) -> str:
    """With its unit; for a latency also who measured it."""
    title = COSTS[cost][1]
    return f"{title}, {latency_source(comparison.latencies)}" if cost == "latency" else title


def pareto_points(comparison: Comparison, cost: str) -> list[Point]:
    """Configurations with both a finite PSNR and this cost, in the order of the table."""
    column, costs = next(each for each in cost_columns(comparison) if each[0].key == COSTS[cost][0])
    found = []
    for configuration, each in zip(comparison.configurations, costs, strict=True):
        psnr = mean_psnr(configuration, comparison.sets)
        if each is not None and psnr is not None and math.isfinite(psnr.mean):
            low, high = (each.mean if end is None else end for end in (each.low, each.high))
            # a median lies between its percentiles, but after rounding it may not
            ends = (each.mean, min(low, each.mean), max(high, each.mean))
            found.append((configuration, *(end / column.divisor for end in ends), psnr))
    front = pareto_front([(cost, psnr.mean) for _, cost, _, _, psnr in found])
    return [Point(*each, on_front=place in front) for place, each in enumerate(found)]


def pareto_front(points: Sequence[tuple[float, float]]) -> set[int]:
    """Places of the (cost, quality) that no other dominates by being as good in both and better in one."""
    front: set[int] = set()
    best_so_far, best_cost = float("-inf"), float("nan")
    # cheapest first, and the best of the equally cheap; equal points are on the front together
    for place in sorted(range(len(points)), key=lambda each: (points[each][0], -points[each][1])):
        cost, quality = points[place]
        if quality > best_so_far or (quality == best_so_far and cost == best_cost):
            front.add(place)
            best_so_far, best_cost = quality, cost
    return front
