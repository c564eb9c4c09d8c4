"""What the figures show: PSNR against cost with its Pareto front, and mean learning curves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from srlab.extensions.report.ablation import ablation_table, mean_score, metric_heading
from srlab.extensions.report.comparison import Comparison, Configuration
from srlab.extensions.report.latencies import latency_source
from srlab.extensions.report.tables import Estimate
from srlab.runs.contract import MONITOR, TRAIN_LOSS, validation_key

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
