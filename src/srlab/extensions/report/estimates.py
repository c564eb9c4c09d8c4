"""Means and spreads over the runs of one configuration."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Literal

from srlab.extensions.report.comparison import Configuration
from srlab.extensions.report.latencies import LabLatencies
from srlab.extensions.report.runs import Run, RunCosts

__all__ = [
    "Estimate", "Mark", "Measure", "cost_measure", "difference_measure", "latency_measure", "mean_score",
    "memory_measure",
]  # fmt: skip

Mark = Literal["best", "second"]


@dataclass(frozen=True)
class Estimate:
    """A number with its spread.

    Attributes:
        mean: over the runs, one each seed.
        std: sample standard deviation (n - 1); None for one run.
        n: number of runs; of rounds for what the lab measured.
        low: 10th percentile of a latency: of the lab's rounds, or the median of the runs' own.
        high: 90th percentile likewise.
    """

    mean: float
    std: float | None
    n: int
    low: float | None = None
    high: float | None = None
    mark: Mark | None = None


#: What a column shows of one configuration.
Measure = Callable[[Configuration], Estimate | None]


def mean_score(configuration: Configuration, sets: Sequence[str], metric: str = "psnr") -> Estimate | None:
    """Mean over the sets, over the seeds; of runs that were scored on all of ``sets``."""
    return _estimate(_score(run, sets, metric) for run in configuration.finished)


def difference_measure(baseline: Configuration, sets: Sequence[str], metric: str) -> Measure:
    """Difference to ``baseline``, over the seeds that both have: what a seed does to both cancels out.

    Without a common seed it is that of the means, which has no spread.
    """

    def difference(each: Configuration) -> Estimate | None:
        if each is baseline:
            return None
        ours, theirs = (_by_seed(side, sets, metric) for side in (each, baseline))
        common = sorted(ours.keys() & theirs.keys())
        if common:
            return _estimate(_gap(ours[seed], theirs[seed]) for seed in common)
        if not ours or not theirs:
            return None
        return Estimate(mean=_gap(fmean(ours.values()), fmean(theirs.values())), std=None, n=len(ours))

    return difference


def cost_measure(of: Callable[[RunCosts], float | None]) -> Measure:
    """Mean of a cost, also of runs that did not finish."""
    return lambda each: _estimate(of(run.costs) for run in each.runs)


def latency_measure(lab: LabLatencies | None) -> Measure:
    """Of the lab; or medians of the runs' own, so that one disturbed measurement does not show."""

    def of_lab(each: Configuration) -> Estimate | None:
        found = lab.of(each.runs) if lab else None
        time = found["time_ms"] if found else {}
        return Estimate(time["median"], None, found["rounds"], time["p10"], time["p90"]) if found else None

    def own(each: Configuration) -> Estimate | None:
        costs = [run.costs for run in each.runs]
        parts = [(cost.latency_ms, cost.latency_p10_ms, cost.latency_p90_ms) for cost in costs]
        known = [[value for value in part if value is not None] for part in zip(*parts, strict=True)]
        middle, low, high = (median(part) if part else None for part in known)
        return None if middle is None else Estimate(middle, None, len(known[0]), low, high)

    return of_lab if lab else own


def memory_measure(lab: LabLatencies | None) -> Measure:
    """Of the lab, or each run's own."""
    if lab is None:
        return cost_measure(lambda costs: costs.memory_mib)

    def of_lab(each: Configuration) -> Estimate | None:
        memory = (lab.of(each.runs) or {}).get("memory", {})
        on_gpu, on_cpu = memory.get("allocated_mib"), memory.get("live_mib")
        return _estimate([on_cpu if on_gpu is None else on_gpu])

    return of_lab


def _score(run: Run, sets: Sequence[str], metric: str) -> float | None:
    """Mean over the sets; None if the run lacks one, because sets are not equally hard."""
    values = [run.scores[name][metric] for name in sets if metric in run.scores.get(name, {})]
    return fmean(values) if values and len(values) == len(sets) else None


def _by_seed(configuration: Configuration, sets: Sequence[str], metric: str) -> dict[str, float]:
    """A seed that was run several times counts with its mean."""
    values: dict[str, list[float]] = {}
    for run in configuration.finished:
        score = _score(run, sets, metric)
        if score is not None and not math.isnan(score):
            values.setdefault(str(run.seed), []).append(score)
    return {seed: fmean(each) for seed, each in values.items()}


def _gap(one: float, other: float) -> float:
    """0 if both are equal, also if both are infinite."""
    return 0.0 if one == other else one - other


def _estimate(values: Iterable[float | None]) -> Estimate | None:
    known = [float(value) for value in values if value is not None and not math.isnan(value)]
    if not known or {math.inf, -math.inf} <= set(known):
        return None
    has_spread = len(known) > 1 and all(map(math.isfinite, known))
    return Estimate(mean=fmean(known), std=stdev(known) if has_spread else None, n=len(known))
