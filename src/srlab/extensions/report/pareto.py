"""Which configurations nobody beats in both quality and cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from srlab.extensions.report.ablation import Estimate, psnr_of
from srlab.extensions.report.comparison import Comparison, Configuration
from srlab.extensions.report.latencies import latency_source

__all__ = ["COST_AXES", "CostAxis", "Point", "axis_title", "pareto_front", "pareto_points"]

CostName = Literal["latency", "multiply_adds", "params"]


@dataclass(frozen=True)
class CostAxis:
    """What PSNR is plotted against.

    Attributes:
        column: key of the ablation table's column.
        divisor: from its unit to the axis's.
    """

    name: CostName
    column: str
    title: str
    divisor: float


COST_AXES: dict[str, CostAxis] = {
    axis.name: axis
    for axis in (
        CostAxis("latency", "latency_ms", "latency (ms)", 1.0),
        CostAxis("multiply_adds", "multiply_adds", "multiply-adds at 1280x720 (G)", 1e9),
        CostAxis("params", "params", "parameters (K)", 1e3),
    )
}


@dataclass(frozen=True)
class Point:
    """One configuration in a plot; cost and its 10th and 90th percentile in the axis's unit."""

    configuration: Configuration
    cost: float
    cost_range: tuple[float, float] | None
    psnr: Estimate
    on_front: bool


def axis_title(comparison: Comparison, axis: CostAxis) -> str:
    """With its unit; a latency tells who measured it."""
    if axis.name != "latency":
        return axis.title
    return f"{axis.title}, {latency_source(comparison.latencies)}"


def pareto_points(comparison: Comparison, axis: CostAxis) -> list[Point]:
    """Configurations with both a finite score and this cost, in the order of the table."""
    from srlab.extensions.report.ablation import ablation_table

    table = ablation_table(comparison)
    places = [place for place, column in enumerate(table.columns) if column.key == axis.column]
    if not places:
        return []
    pairs = [
        (row.configuration, cost, psnr)
        for row in table.rows
        if (cost := row.estimates[places[0]]) is not None
        and (psnr := psnr_of(row.configuration, comparison.sets)) is not None
        and math.isfinite(psnr.mean)
    ]
    front = pareto_front([(cost.mean, psnr.mean) for _, cost, psnr in pairs])
    return [
        Point(
            configuration=configuration,
            cost=cost.mean / axis.divisor,
            cost_range=_range(cost, axis.divisor),
            psnr=psnr,
            on_front=place in front,
        )
        for place, (configuration, cost, psnr) in enumerate(pairs)
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


def _range(cost: Estimate, divisor: float) -> tuple[float, float] | None:
    if cost.low is None or cost.high is None:
        return None
    return cost.low / divisor, cost.high / divisor
