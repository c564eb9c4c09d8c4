"""Figures: PSNR against what it costs, and learning curves."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from srlab.extensions.report.comparison import Comparison, as_comparison
from srlab.extensions.report.curves import CURVES, Curve, configuration_curves
from srlab.extensions.report.pareto import COST_AXES, Point, axis_title, pareto_points
from srlab.extensions.report.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["INK", "SERIES", "curves_figure", "pareto_figure", "series_color"]

# Okabe and Ito's colours, which the colour-blind can tell apart, without their black and yellow.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f6fbf", "#8c6d46")
INK = {"text": "#1b1f24", "muted": "#6a737d", "grid": "#dfe3e8"}
_DASHES = ("-", "--", ":", "-.")
_MOST_LABELS = 12  # configurations that a plot names in words; more have their row's number alone
_LONGEST_LABEL = 26  # characters
# A legend's letters of 7.5 points, and what its lines take beside them.
_LEGEND_LETTERS_PER_INCH = 19
_LEGEND_HANDLE_LETTERS = 8
_LEGEND_ROW_INCHES = 0.16
# Offsets of a label from its point, in points, tried in turn until one is free.
_PLACES = (
    (7, 5),
    (7, -11),
    (-7, 5),
    (-7, -11),
    (0, 12),
    (0, -18),
    (14, 16),
    (14, -22),
    (-14, 16),
    (-14, -22),
)
_MEASURING_DPI = 100


def series_color(number: int) -> str:
    """Of the configuration of that number, in every plot."""
    return SERIES[(number - 1) % len(SERIES)]


def pareto_figure(runs: Comparison | Sequence[Run], *, against: str = "latency") -> "Figure":
    """PSNR (mean of the sets, over seeds) against one cost, the Pareto front drawn.

    Args:
        runs: a comparison, or runs to compare.
        against: ``latency``, ``multiply_adds`` or ``params``.

    Raises:
        ValueError: an unknown cost, or no run has both it and a score.
    """
    if against not in COST_AXES:
        raise ValueError(f"against={against!r} is no cost; choose one of {', '.join(COST_AXES)}")
    axis = COST_AXES[against]
    comparison = as_comparison(runs)
    points = pareto_points(comparison, axis)
    if not points:
        raise ValueError(f"no finished run has a {axis.title}: nothing to plot PSNR against")
    parameters = ", ".join(parameter.label for parameter in comparison.parameters)
    with _style():
        figure, axes = _new_figure(1)
        _draw_points(axes[0], points)
        _finish_axes(axes[0], axis_title(comparison, axis), "PSNR (dB)")
        if _spans_decades(points):
            axes[0].set_xscale("log")
        axes[0].margins(0.16, 0.16)
        if parameters:
            title = axes[0].set_title(
                f"labels are row: {parameters}", fontsize=7.5, loc="left", color=INK["muted"]
            )
            title.set_parse_math(False)
        _label_points(figure, axes[0], points)
    return figure


def curves_figure(runs: Comparison | Sequence[Run]) -> "Figure":
    """Validation PSNR and training loss by step: means over seeds, bands of one standard deviation.

    Raises:
        ValueError: no run has a curve.
    """
    comparison = as_comparison(runs)
    panels = [(title, configuration_curves(comparison, metric)) for metric, title in CURVES]
    panels = [(title, curves) for title, curves in panels if curves]
    if not panels:
        raise ValueError("no run has a curve: metrics.csv is missing or empty")
    with _style():
        figure, axes = _new_figure(len(panels))
        for place, (each, (title, curves)) in enumerate(zip(axes, panels, strict=True)):
            for curve in curves:
                _draw_curve(each, curve, part=f"part{place}")
            _finish_axes(each, "step", title)
        _legend(figure, axes[0])
        _settle(figure)
    return figure


def _style() -> AbstractContextManager[None]:
    import matplotlib

    return matplotlib.rc_context(
        {
            "font.size": 9, "svg.fonttype": "none", "pdf.fonttype": 42, "axes.spines.top": False,
            "axes.spines.right": False, "text.color": INK["text"], "axes.edgecolor": INK["muted"],
            "axes.labelcolor": INK["text"], "xtick.color": INK["muted"], "ytick.color": INK["muted"],
            "xtick.labelcolor": INK["text"], "ytick.labelcolor": INK["text"], "grid.color": INK["grid"],
            "axes.formatter.useoffset": False,
        }
    )  # fmt: skip


def _new_figure(panels: int) -> "tuple[Figure, list[Axes]]":
    """Without pyplot: no window, no global state, also in a notebook."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 if panels == 1 else 9.6, 3.9), layout="constrained", dpi=_MEASURING_DPI)
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0)
    axes: Any = figure.subplots(1, panels, squeeze=False)
    return figure, list(axes[0])


def _settle(figure: "Figure") -> None:
    """Lay out once: what is placed afterwards stays where it fits, and each format is spared the work."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _finish_axes(axes: "Axes", x_title: str, y_title: str) -> None:
    axes.set_xlabel(x_title)
    axes.set_ylabel(y_title)
    axes.patch.set_alpha(0)
    axes.grid(visible=True, linewidth=0.6)
    axes.set_axisbelow(True)


def _draw_points(axes: "Axes", points: Sequence[Point]) -> None:
    front = sorted((point.cost, point.psnr.mean) for point in points if point.on_front)
    axes.plot(
        *zip(*front, strict=True), color=INK["muted"], linewidth=1.2, linestyle="--", gid="front", zorder=1
    )
    for point in points:
        number = point.configuration.number
        low, high = point.cost_range or (point.cost, point.cost)
        bars = axes.errorbar(
            point.cost,
            point.psnr.mean,
            # a median lies between its percentiles; a rounded one may lie beside them
            xerr=[[max(0.0, point.cost - low)], [max(0.0, high - point.cost)]] if low < high else None,
            yerr=point.psnr.std,
            fmt="none",
            ecolor=series_color(number),
            elinewidth=1,
            capsize=2,
        )
        for place, part in enumerate(bars.get_children()):
            part.set_gid(f"bars-{number}-part{place}")
        (dot,) = axes.plot(
            [point.cost],
            [point.psnr.mean],
            marker="o" if point.on_front else "X",
            markersize=7 if point.on_front else 6,
            color=series_color(number),
            markeredgewidth=0.8,
            linestyle="none",
        )
        dot.set_gid(f"point-{number}")


def _spans_decades(points: Sequence[Point]) -> bool:
    costs = [point.cost for point in points]
    return min(costs) > 0 and max(costs) > 10 * min(costs)


def _label_points(figure: "Figure", axes: "Axes", points: Sequence[Point]) -> None:
    """Each label takes the first place beside its point that no label, point, bar or front has."""
    _settle(figure)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    frame = axes.get_window_extent(renderer).extents
    taken = _obstacles(axes, points)
    texts = {point.configuration.number: ", ".join(point.configuration.values) for point in points}
    in_words = len(points) <= _MOST_LABELS and max(map(len, texts.values())) <= _LONGEST_LABEL
    for point in points:
        number, place = point.configuration.number, (point.cost, point.psnr.mean)
        text = f"{number}: {texts[number]}" if in_words and texts[number] else str(number)
        candidates = []
        for offset in _PLACES:
            note = _note(axes, text, place, offset, gid=f"label-{number}")
            box = note.get_window_extent(renderer).extents
            cost = sum(_overlap(box, other) for other in taken) + 3 * _outside(box, frame)
            candidates.append((cost, note, box))
        best = min(candidates, key=lambda each: each[0])
        for each in candidates:
            if each is not best:
                each[1].remove()
        taken.append(best[2])


def _note(axes: "Axes", text: str, place: tuple[float, float], offset: tuple[int, int], *, gid: str) -> Any:
    side = "left" if offset[0] > 0 else "right" if offset[0] < 0 else "center"
    note = axes.annotate(
        text, place, offset, textcoords="offset points", fontsize=7.5, ha=side, gid=gid, annotation_clip=False
    )
    note.set_parse_math(False)  # values of parameters are text
    return note


def _obstacles(axes: "Axes", points: Sequence[Point]) -> list[Any]:
    """Boxes (left, bottom, right, top) in pixels: points, their bars, pieces of the front."""
    boxes = []
    for point in points:
        low, high = point.cost_range or (point.cost, point.cost)
        std, mean = point.psnr.std or 0.0, point.psnr.mean
        corners = axes.transData.transform([(low, mean - std), (high, mean + std), (point.cost, mean)])
        (left, bottom), (right, top), (x, y) = corners.tolist()
        boxes += [(left, y - 2, right, y + 2), (x - 2, bottom, x + 2, top), (x - 5, y - 5, x + 5, y + 5)]
    front = sorted((point.cost, point.psnr.mean) for point in points if point.on_front)
    corners = axes.transData.transform(front).tolist()
    for (x, y), (next_x, next_y) in pairwise(corners):
        pieces = max(1, int(abs(next_x - x) + abs(next_y - y)) // 8)
        for piece in range(pieces):
            at_x, at_y = (x + (next_x - x) * piece / pieces, y + (next_y - y) * piece / pieces)
            boxes.append((at_x - 2, at_y - 2, at_x + 2, at_y + 2))
    return boxes


def _overlap(one: Any, other: Any) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _outside(box: Any, frame: Any) -> float:
    return (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, frame)


def _draw_curve(axes: "Axes", curve: Curve, *, part: str) -> None:
    """``part`` tells the ids of one panel from those of another."""
    number = curve.configuration.number
    color, dash = series_color(number), _DASHES[(number - 1) // len(SERIES) % len(_DASHES)]
    label = f"{number}: {curve.configuration.label}" + ("" if curve.of_finished else " (unfinished)")
    axes.plot(
        curve.steps,
        curve.means,
        color=color,
        linestyle=dash,
        linewidth=1.5,
        marker="o" if len(curve.steps) < 25 else None,
        markersize=3,
        alpha=1 if curve.of_finished else 0.55,
        label=label,
        gid=f"curve-{number}-{part}",
    )
    if curve.stds is not None:
        low = [mean - std for mean, std in zip(curve.means, curve.stds, strict=True)]
        high = [mean + std for mean, std in zip(curve.means, curve.stds, strict=True)]
        axes.fill_between(
            curve.steps, low, high, color=color, alpha=0.18, linewidth=0, gid=f"band-{number}-{part}"
        )


def _legend(figure: "Figure", axes: "Axes") -> None:
    """Below the axes, in as many columns as have room; the figure grows by its rows."""
    handles, labels = axes.get_legend_handles_labels()
    room = int(_LEGEND_LETTERS_PER_INCH * figure.get_figwidth())
    columns = max(1, min(3, len(labels), room // (max(map(len, labels)) + _LEGEND_HANDLE_LETTERS)))
    figure.set_figheight(figure.get_figheight() + _LEGEND_ROW_INCHES * -(-len(labels) // columns))
    legend = figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=columns,
        fontsize=7.5,
        frameon=False,
        handlelength=3.6,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
