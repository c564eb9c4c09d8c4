"""What the figures show: PSNR against cost with its Pareto front, and mean learning curves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from srlab.extensions.report.ablation import ablation_table
from srlab.extensions.report.comparison import Comparison, Configuration
from srlab.extensions.report.estimates import Estimate, mean_score
from srlab.extensions.report.latencies import latency_source

__all__ = [
    "COSTS",
    "Curve",
    "Point",
    "axis_title",
    "configuration_curves",
    "curve_panels",
    "pareto_front",
    "pareto_points",
]

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
    cost_range: tuple[float, float]
    psnr: Estimate
    on_front: bool


@dataclass(frozen=True)
class Curve:
    """Of one configuration.

    Attributes:
        means: over runs, at each of ``steps``.
        stds: sample standard deviations; None for one run.
        of_finished: whether these runs finished.
    """

    configuration: Configuration
    steps: tuple[int, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...] | None
    of_finished: bool


def axis_title(comparison: Comparison, cost: str) -> str:
    """With its unit; for a latency also who measured it."""
    title = COSTS[cost][1]
    return f"{title}, {latency_source(comparison.latencies)}" if cost == "latency" else title


def pareto_points(comparison: Comparison, cost: str) -> list[Point]:
    """Configurations with both a finite PSNR and this cost, in the order of the table."""
    key, _, divisor = COSTS[cost]
    table = ablation_table(comparison)
    places = [place for place, column in enumerate(table.columns) if column.key == key]
    found = [
        (row.configuration, estimate, psnr)
        for row in table.rows
        for estimate in (row.estimates[place] for place in places)
        if estimate is not None
        and (psnr := mean_score(row.configuration, comparison.sets)) is not None
        and math.isfinite(psnr.mean)
    ]
    front = pareto_front([(estimate.mean, psnr.mean) for _, estimate, psnr in found])
    return [
        Point(
            configuration=configuration,
            cost=each.mean / divisor,
            cost_range=(
                (each.mean if each.low is None else each.low) / divisor,
                (each.mean if each.high is None else each.high) / divisor,
            ),
            psnr=psnr,
            on_front=place in front,
        )
        for place, (configuration, each, psnr) in enumerate(found)
    ]


def pareto_front(points: Sequence[tuple[float, float]]) -> set[int]:
    """Places of the (cost, quality) that no other dominates by being as good in both and better in one.

    Equal points are on the front together.
    """
    front: set[int] = set()
    best_so_far, best_cost = float("-inf"), float("nan")
    # cheapest first, and the best of the equally cheap
    for place in sorted(range(len(points)), key=lambda each: (points[each][0], -points[each][1])):
        cost, quality = points[place]
        if quality > best_so_far or (quality == best_so_far and cost == best_cost):
            front.add(place)
            best_so_far, best_cost = quality, cost
    return front


def curve_panels(comparison: Comparison) -> list[tuple[str, list[Curve]]]:
    """Title and curves of every panel: validation PSNR, training loss, then the other validation metrics."""
    logged = dict.fromkeys(key for run in comparison.runs for key in run.curves)
    titles = {MONITOR: "", TRAIN_LOSS: "training loss"}
    titles |= {key: "" for key in logged if key == validation_key(name := key.rpartition("/")[2])}
    return [
        (title or f"validation {_heading(key.rpartition('/')[2])}", curves)
        for key, title in titles.items()
        if (curves := configuration_curves(comparison, key))
    ]


def configuration_curves(comparison: Comparison, key: str) -> list[Curve]:
    """Mean curve of each configuration whose runs logged ``key``.

    A mean takes the steps that all its runs have, so that it does not jump where one run ends. Of
    configurations without a finished run, only the longest run is drawn.
    """
    curves = []
    for configuration in comparison.configurations:
        runs = configuration.finished or configuration.runs
        logged = [dict(run.curves[key]) for run in runs if key in run.curves]
        if logged and not configuration.finished:
            logged = [max(logged, key=max)]
        thinned = [_thinned(curve) for curve in logged]
        steps = sorted(set.intersection(*map(set, thinned))) if thinned else []
        if steps:
            values = [[curve[step] for curve in thinned] for step in steps]
            curves.append(
                Curve(
                    configuration=configuration,
                    steps=tuple(steps),
                    means=tuple(map(fmean, values)),
                    stds=tuple(map(stdev, values)) if len(thinned) > 1 else None,
                    of_finished=bool(configuration.finished),
                )
            )
    return curves


def _thinned(curve: dict[int, float]) -> dict[int, float]:
    """Means of groups of neighbours, at the last step of each; the same steps give the same groups."""
    steps = sorted(curve)
    size = -(-len(steps) // _MOST_POINTS)
    groups = [steps[start : start + size] for start in range(0, len(steps), size)]
    return {group[-1]: fmean(curve[step] for step in group) for group in groups}
