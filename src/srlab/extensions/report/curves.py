"""Learning curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from srlab.extensions.report.ablation import metric_heading
from srlab.extensions.report.comparison import Comparison, Configuration, as_comparison
from srlab.extensions.report.drawing import SERIES, STYLE, new_figure, series_color
from srlab.extensions.report.runs import Run
from srlab.runs.contract import MONITOR, TRAIN_LOSS, validation_key

_DASHES = ("-", "--", ":", "-.")
_MOST_POINTS = 300  # of a drawn curve, so that a page with many runs stays small


@dataclass(frozen=True)
class Curve:
    """Of one configuration: means over its runs, and sample standard deviations unless it is one run."""

    configuration: Configuration
    steps: tuple[int, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...] | None


@matplotlib.rc_context(STYLE)
def curves_figure(runs: Comparison | Sequence[Run]) -> Figure:
    """Training loss and validation metrics by step: means over seeds, bands of one standard deviation.

    Raises:
        ValueError: no run has a curve.
    """
    panels = curve_panels(as_comparison(runs))
    if not panels:
        raise ValueError("no run has a curve: metrics.csv is missing or empty")
    figure, axes = new_figure(len(panels))
    for place, (each, (title, curves)) in enumerate(zip(axes, panels, strict=True)):
        each.set(xlabel="step", ylabel=title)
        for curve in curves:
            _draw_curve(each, curve, part=f"part{place}")
    _legend(figure, axes[0])
    return figure


def _draw_curve(axes: Axes, curve: Curve, *, part: str) -> None:
    """``part`` keeps the ids of the panels apart."""
    number, is_finished = curve.configuration.number, bool(curve.configuration.finished)
    color = series_color(number)
    axes.plot(
        curve.steps,
        curve.means,
        color=color,
        linestyle=_DASHES[(number - 1) // len(SERIES) % len(_DASHES)],
        linewidth=1.5,
        marker="o" if len(curve.steps) < 25 else None,
        markersize=3,
        alpha=1 if is_finished else 0.55,
        label=f"{number}: {curve.configuration.label}" + ("" if is_finished else " (unfinished)"),
        gid=f"curve-{number}-{part}",
    )
    if curve.stds is not None:
        low, high = (
            [mean + sign * std for mean, std in zip(curve.means, curve.stds, strict=True)] for sign in (-1, 1)
        )
        band = f"band-{number}-{part}"
        axes.fill_between(curve.steps, low, high, color=color, alpha=0.18, linewidth=0, gid=band)


def _legend(figure: Figure, axes: Axes) -> None:
    """Below the axes, in as many columns as fit; the figure grows by its rows."""
    handles, labels = axes.get_legend_handles_labels()
    # an inch holds 19 letters of 7.5 points, and the line of an entry takes 8 of them
    columns = max(1, min(3, int(19 * figure.get_figwidth()) // (max(map(len, labels)) + 8)))
    figure.set_figheight(figure.get_figheight() + 0.16 * -(-len(labels) // columns))
    for text in figure.legend(handles, labels, loc="outside lower center", ncols=columns).get_texts():
        text.set_parse_math(False)


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
