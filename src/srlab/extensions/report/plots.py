"""Figures: PSNR against what it costs, and learning curves; as files, and as SVG inside a page."""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from srlab.atomic_files import atomic_write
from srlab.extensions.report.ablation import ablation_table, mean_score, metric_heading
from srlab.extensions.report.comparison import Comparison, Configuration, as_comparison
from srlab.extensions.report.latencies import latency_source
from srlab.extensions.report.runs import Run
from srlab.extensions.report.tables import Estimate
from srlab.runs.contract import MONITOR, TRAIN_LOSS, validation_key

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind can tell apart, without their black and yellow.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f6fbf", "#8c6d46")
_INK = {"text": "#1b1f24", "muted": "#6a737d", "grid": "#dfe3e8"}
_DASHES = ("-", "--", ":", "-.")
_MOST_LABELS = 12  # configurations that a plot names in words; with more, each has its row's number alone
_LONGEST_LABEL = 26  # characters
_STYLE: Any = {
    "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "srlab", "pdf.fonttype": 42,
    "axes.spines.top": False, "axes.spines.right": False, "text.color": _INK["text"],
    "axes.edgecolor": _INK["muted"], "axes.labelcolor": _INK["text"], "xtick.color": _INK["muted"],
    "ytick.color": _INK["muted"], "xtick.labelcolor": _INK["text"], "ytick.labelcolor": _INK["text"],
    "axes.grid": True, "axes.axisbelow": True, "grid.color": _INK["grid"], "grid.linewidth": 0.6,
    "axes.formatter.useoffset": False, "axes.facecolor": "none", "figure.facecolor": "none",
    "legend.fontsize": 7.5, "legend.frameon": False, "legend.handlelength": 3.6,
}  # fmt: skip
# Cost in `pareto_figure`: column of the ablation table, title of the axis, divisor from the column's unit.
COSTS = {
    "latency": ("latency_ms", "latency (ms)", 1.0),
    "multiply_adds": ("multiply_adds", "multiply-adds at 1280x720 (G)", 1e9),
    "params": ("params", "parameters (K)", 1e3),
}
_MOST_POINTS = 300  # of a drawn curve, so that a page with many runs stays small


@dataclass(frozen=True)
class Point:
    """One configuration in a plot; cost and its 10th and 90th percentile in the axis's unit."""

    configuration: Configuration
    cost: float
    low: float
    high: float
    psnr: Estimate
    on_front: bool


@dataclass(frozen=True)
class Curve:
    """Of one configuration: means over its runs, and sample standard deviations unless it is one run."""

    configuration: Configuration
    steps: tuple[int, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...] | None


def pareto_figure(runs: Comparison | Sequence[Run], *, against: str = "latency") -> "Figure":
    """PSNR (mean of the sets, over seeds) against one cost, with the Pareto front.

    Args:
        runs: a comparison, or runs to compare.
        against: ``latency``, ``multiply_adds`` or ``params``.

    Raises:
        ValueError: an unknown cost, or no run has both it and a score.
    """
    import matplotlib

    if against not in COSTS:
        raise ValueError(f"against={against!r} is not a cost; choose one of {', '.join(COSTS)}")
    comparison = as_comparison(runs)
    points = pareto_points(comparison, against)
    if not points:
        raise ValueError(f"no finished run has a {COSTS[against][1]}: nothing to plot PSNR against")
    costs = [point.cost for point in points]
    with matplotlib.rc_context(_STYLE):
        figure, (axes,) = _new_figure(1)
        _draw_points(axes, points)
        axes.set(xlabel=axis_title(comparison, against), ylabel="PSNR (dB)")
        if min(costs) > 0 and max(costs) > 10 * min(costs):
            axes.set_xscale("log")
        axes.margins(0.16, 0.16)
        if comparison.parameters:
            title = f"labels are row: {', '.join(each.label for each in comparison.parameters)}"
            axes.set_title(title, fontsize=7.5, loc="left", color=_INK["muted"], parse_math=False)
    return figure


def curves_figure(runs: Comparison | Sequence[Run]) -> "Figure":
    """Training loss and validation metrics by step: means over seeds, bands of one standard deviation.

    Raises:
        ValueError: no run has a curve.
    """
    import matplotlib

    panels = curve_panels(as_comparison(runs))
    if not panels:
        raise ValueError("no run has a curve: metrics.csv is missing or empty")
    with matplotlib.rc_context(_STYLE):
        figure, axes = _new_figure(len(panels))
        for place, (each, (title, curves)) in enumerate(zip(axes, panels, strict=True)):
            each.set(xlabel="step", ylabel=title)
            for curve in curves:
                _draw_curve(each, curve, part=f"part{place}")
        _legend(figure, axes[0])
    return figure


def save_figure(figure: "Figure", path: Path) -> None:
    """Write in the format that the suffix of ``path`` names; the same figure gives the same bytes."""
    with atomic_write(path) as partial:
        partial.write_bytes(_rendered(figure, path.suffix.removeprefix(".")))


def inline_svg(figure: "Figure", *, prefix: str, title: str) -> str:
    """An ``<svg>`` whose colours are the page's variables and whose ids begin with ``prefix``.

    Text stays text. The variables are ``--text``, ``--muted``, ``--grid`` and ``--series-0`` …
    """
    text = _rendered(figure, "svg").decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    for name, color in (*_INK.items(), *((f"series-{place}", color) for place, color in enumerate(SERIES))):
        text = text.replace(color, f"var(--{name})")
    # the page decides about the width, not the figure's width in points
    for side in ("width", "height"):
        text = re.sub(rf'<svg ([^>]*?){side}="[^"]+"', r"<svg \1", text, count=1)
    return text.replace("<svg ", f'<svg role="group" aria-label="{escape(title)}" ', 1)


def _rendered(figure: "Figure", kind: str) -> bytes:
    """Without dates and random ids."""
    import matplotlib

    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    stream = io.BytesIO()
    with matplotlib.rc_context(_STYLE):  # fonts are chosen when text is written, not when it is drawn
        figure.savefig(stream, format=kind, dpi=160, metadata=metadata)
    return stream.getvalue()


def _new_figure(panels: int) -> "tuple[Figure, list[Axes]]":
    """At most two panels side by side; without pyplot: no window, no global state, also in a notebook."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-panels // 2)
    figure = Figure(figsize=(5.6 if panels == 1 else 9.6, 3.9 * rows), layout="constrained", dpi=100)
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(rows, min(panels, 2), squeeze=False).flat
    for unused in axes[panels:]:
        unused.set_axis_off()
    return figure, list(axes[:panels])


def _color(number: int) -> str:
    return SERIES[(number - 1) % len(SERIES)]


def _draw_points(axes: "Axes", points: Sequence[Point]) -> None:
    front = sorted((point.cost, point.psnr.mean) for point in points if point.on_front)
    axes.plot(*zip(*front, strict=True), color=_INK["muted"], lw=1.2, ls="--", gid="front", zorder=1)
    texts = {point.configuration.number: ", ".join(point.configuration.values) for point in points}
    in_words = len(points) <= _MOST_LABELS and max(map(len, texts.values())) <= _LONGEST_LABEL
    # neighbours have their labels on opposite sides, upper left and lower right
    for rank, point in enumerate(sorted(points, key=lambda point: point.psnr.mean)):
        number, place = point.configuration.number, (point.cost, point.psnr.mean)
        # a median lies between its percentiles, but after rounding it may not
        ends = [[max(0.0, point.cost - point.low)], [max(0.0, point.high - point.cost)]]
        marker, size = ("o", 7) if point.on_front else ("X", 6)
        style: Any = {"color": _color(number), "linestyle": "none", "marker": marker, "markersize": size}
        xerr = ends if any(map(any, ends)) else None
        bars = axes.errorbar(*place, xerr=xerr, yerr=point.psnr.std, elinewidth=1, capsize=2, **style)
        for part_number, part in enumerate(bars.get_children()):
            part.set_gid(f"bars-{number}-part{part_number}" if part_number else f"point-{number}")
        text = f"{number}: {texts[number]}" if in_words and texts[number] else str(number)
        # values of parameters are text, not mathematics
        style = {"textcoords": "offset points", "annotation_clip": False, "parse_math": False}
        offset, side = ((-7, 5), "right") if rank % 2 else ((7, -12), "left")
        axes.annotate(text, place, offset, ha=side, gid=f"label-{number}", fontsize=7.5, **style)


def _draw_curve(axes: "Axes", curve: Curve, *, part: str) -> None:
    """``part`` keeps the ids of the panels apart."""
    number, is_finished = curve.configuration.number, bool(curve.configuration.finished)
    style: Any = {
        "linestyle": _DASHES[(number - 1) // len(SERIES) % len(_DASHES)],
        "marker": "o" if len(curve.steps) < 25 else None,
        "label": f"{number}: {curve.configuration.label}" + ("" if is_finished else " (unfinished)"),
        "alpha": 1 if is_finished else 0.55,
    }
    color, gid = _color(number), f"curve-{number}-{part}"
    axes.plot(curve.steps, curve.means, color=color, linewidth=1.5, markersize=3, gid=gid, **style)
    if curve.stds is not None:
        low, high = (
            [mean + sign * std for mean, std in zip(curve.means, curve.stds, strict=True)] for sign in (-1, 1)
        )
        band = f"band-{number}-{part}"
        axes.fill_between(curve.steps, low, high, color=color, alpha=0.18, linewidth=0, gid=band)


def _legend(figure: "Figure", axes: "Axes") -> None:
    """Below the axes, in as many columns as fit; the figure grows by its rows."""
    handles, labels = axes.get_legend_handles_labels()
    # an inch holds 19 letters of 7.5 points, and the line of an entry takes 8 of them
    columns = max(1, min(3, int(19 * figure.get_figwidth()) // (max(map(len, labels)) + 8)))
    figure.set_figheight(figure.get_figheight() + 0.16 * -(-len(labels) // columns))
    for text in figure.legend(handles, labels, loc="outside lower center", ncols=columns).get_texts():
        text.set_parse_math(False)


def axis_title(comparison: Comparison, cost: str) -> str:
    """With its unit; for a latency also who measured it."""
    title = COSTS[cost][1]
    return f"{title}, {latency_source(comparison.latencies)}" if cost == "latency" else title


def pareto_points(comparison: Comparison, cost: str) -> list[Point]:
    """Configurations with both a finite PSNR and this cost, in the order of the table."""
    key, _, divisor = COSTS[cost]
    table = ablation_table(comparison)
    found = []
    for row in table.rows:
        estimates = {column.key: each for column, each in zip(table.columns, row.estimates, strict=True)}
        each, psnr = estimates.get(key), mean_score(row.configuration, comparison.sets)
        if each is not None and psnr is not None and math.isfinite(psnr.mean):
            ends = (each.mean if end is None else end for end in (each.mean, each.low, each.high))
            found.append((row.configuration, *(end / divisor for end in ends), psnr))
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


def curve_panels(comparison: Comparison) -> list[tuple[str, list[Curve]]]:
    """Title and curves of every panel: validation PSNR, training loss, then the other validation metrics."""
    logged = dict.fromkeys(key for run in comparison.runs for key in run.curves)
    panels = []
    for key in dict.fromkeys((MONITOR, TRAIN_LOSS, *logged)):
        metric = key.rpartition("/")[2]
        title = "training loss" if key == TRAIN_LOSS else f"validation {metric_heading(metric)}"
        curves = [_curve(each, key) for each in comparison.configurations]
        if key in (TRAIN_LOSS, validation_key(metric)) and any(curves):
            panels.append((title, [curve for curve in curves if curve]))
    return panels


def _curve(configuration: Configuration, key: str) -> Curve | None:
    """Mean at the steps that all runs have, so that it does not jump where one run ends.

    Of configurations without a finished run, only the longest run is drawn.
    """
    runs = configuration.finished or configuration.runs
    logged = [dict(run.curves[key]) for run in runs if key in run.curves]
    if logged and not configuration.finished:
        logged = [max(logged, key=max)]
    thinned = [_thinned(curve) for curve in logged]
    steps = sorted(set.intersection(*map(set, thinned))) if thinned else []
    if not steps:
        return None
    values = [[curve[step] for curve in thinned] for step in steps]
    stds = tuple(map(stdev, values)) if len(thinned) > 1 else None
    return Curve(configuration, tuple(steps), tuple(map(fmean, values)), stds)


def _thinned(curve: dict[int, float]) -> dict[int, float]:
    """Means of groups of neighbours, at the last step of each; the same steps give the same groups."""
    steps = sorted(curve)
    size = -(-len(steps) // _MOST_POINTS)
    groups = [steps[start : start + size] for start in range(0, len(steps), size)]
    return {group[-1]: fmean(curve[step] for step in group) for group in groups}
