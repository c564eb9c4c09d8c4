"""The ablation table: a row for each configuration, means and spreads over seeds, best and second best."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median, stdev
from typing import Literal

from srlab.extensions.report.comparability import latencies_are_comparable
from srlab.extensions.report.comparison import Comparison, Configuration, as_comparison
from srlab.extensions.report.gray_rules import scored_under
from srlab.extensions.report.latencies import LabLatencies, latency_caption
from srlab.extensions.report.parameters import Parameter
from srlab.extensions.report.runs import Run, Score

__all__ = ["AblationTable", "Column", "Estimate", "Row", "ablation_table", "psnr_of"]

MEAN_SET = "mean of sets"

Mark = Literal["best", "second"]


@dataclass(frozen=True)
class Estimate:
    """A number with its spread.

    Attributes:
        mean: over the runs, one each seed.
        std: sample standard deviation (n - 1); None for one run.
        n: runs that it is of; of what the lab measured, rounds.
        low: 10th percentile of a latency: of the lab's rounds, or the median over runs of theirs.
        high: 90th percentile likewise.
        mark: best or second best of its column.
    """

    mean: float
    std: float | None
    n: int
    low: float | None = None
    high: float | None = None
    mark: Mark | None = None


@dataclass(frozen=True)
class Column:
    """One measure.

    Attributes:
        key: ``psnr/Set5``, ``params``, ``difference/Set5`` …
        heading: with its unit.
        better: where the best value lies; None where none is.
        divisor: of the shown number; estimates keep their own unit.
        digits: after the point, as shown.
        signed: shown with its sign.
    """

    key: str
    heading: str
    better: Literal["higher", "lower"] | None
    divisor: float = 1.0
    digits: int = 2
    signed: bool = False

    @property
    def is_score(self) -> bool:
        """Whether it comes from restored images, rather than from the network's costs."""
        return self.key.partition("/")[0] in ("psnr", "ssim", "difference")

    def shown(self, value: float) -> str:
        """Rounded, in the unit of the heading."""
        text = f"{value / self.divisor:{'+' if self.signed else ''},.{self.digits}f}"
        return text.replace("-", "−")


@dataclass(frozen=True)
class Row:
    """One configuration; estimates stand in the order of the columns, None where there is nothing."""

    configuration: Configuration
    estimates: tuple[Estimate | None, ...]
    is_baseline: bool


@dataclass(frozen=True)
class AblationTable:
    """What :mod:`srlab.extensions.report.table_formats` writes."""

    parameters: tuple[Parameter, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        from srlab.extensions.report.table_formats import to_markdown

        return to_markdown(self)


def ablation_table(runs: Comparison | Sequence[Run]) -> AblationTable:
    """One row for each configuration, also for those without scores.

    Args:
        runs: a comparison, or runs to compare with the default baseline.
    """
    comparison = as_comparison(runs)
    measures = _measures(comparison)
    cells = [[of(each) for _, of in measures] for each in comparison.configurations]
    columns, filled = [], []
    for (column, _), estimates in zip(measures, zip(*cells, strict=True), strict=True):
        if any(estimate is not None for estimate in estimates):
            precise = _with_digits(column, estimates)
            columns.append(precise)
            filled.append(_marked(precise, estimates))
    by_row = zip(*filled, strict=True) if filled else [()] * len(comparison.configurations)
    return AblationTable(
        parameters=comparison.parameters,
        columns=tuple(columns),
        rows=tuple(
            Row(configuration=each, estimates=tuple(estimates), is_baseline=each is comparison.baseline)
            for each, estimates in zip(comparison.configurations, by_row, strict=True)
        ),
        caption=_caption(comparison),
    )


def psnr_of(configuration: Configuration, sets: Sequence[str]) -> Estimate | None:
    """Mean over the sets, over the seeds; of runs that were scored on all of ``sets``."""
    return _over_runs(_mean_of(sets, lambda score: score.psnr))(configuration)


_Measure = tuple[Column, Callable[[Configuration], Estimate | None]]


def _measures(comparison: Comparison) -> list[_Measure]:
    """Scores, each beside its difference to the baseline, then costs."""
    several = {MEAN_SET: comparison.sets} if len(comparison.sets) > 1 else {}
    measures: list[_Measure] = []
    for name, sets in ({name: (name,) for name in comparison.sets} | several).items():
        psnr, ssim = _mean_of(sets, lambda score: score.psnr), _mean_of(sets, lambda score: score.ssim)
        measures.append((Column(f"psnr/{name}", f"PSNR {name} (dB)", "higher"), _over_runs(psnr)))
        if comparison.baseline is not None and len(comparison.finished) > 1:
            column = Column(f"difference/{name}", f"Δ PSNR {name} (dB)", None, signed=True)
            measures.append((column, _difference(psnr, comparison.baseline)))
        measures.append((Column(f"ssim/{name}", f"SSIM {name}", "higher", digits=4), _over_runs(ssim)))
    # the fastest of unlike measurements is no best
    better = "lower" if comparison.latencies or latencies_are_comparable(comparison.runs) else None
    return [
        *measures,
        (Column("params", "params (K)", "lower", divisor=1e3), _cost(lambda run: run.costs.params)),
        (
            Column("multiply_adds", "mult-adds (G)", "lower", divisor=1e9),
            _cost(lambda run: run.costs.multiply_adds),
        ),
        (Column("latency_ms", "latency (ms)", better), _latency_of(comparison.latencies)),
        (Column("memory_mib", "memory (MiB)", better), _memory_of(comparison.latencies)),
    ]


_OfRun = Callable[[Run], float | None]


def _over_runs(of: _OfRun) -> Callable[[Configuration], Estimate | None]:
    return lambda each: _estimate([of(run) for run in each.finished])


def _mean_of(sets: Sequence[str], metric: Callable[[Score], float | None]) -> _OfRun:
    """Over the sets; none of a run that lacks one, whose mean is not to be compared with a mean of all."""

    def of(run: Run) -> float | None:
        values = [metric(run.scores[name]) for name in sets if name in run.scores]
        known = [value for value in values if value is not None]
        return fmean(known) if len(known) == len(sets) else None

    return of


def _difference(of: _OfRun, baseline: Configuration) -> Callable[[Configuration], Estimate | None]:
    """Of runs of the same seed where there are any: what a seed does to both drops out."""

    def difference(each: Configuration) -> Estimate | None:
        if each is baseline:
            return None
        ours, theirs = _by_seed(each, of), _by_seed(baseline, of)
        common = sorted(ours.keys() & theirs.keys())
        if common:
            return _estimate([_gap(ours[seed], theirs[seed]) for seed in common])
        if not ours or not theirs:
            return None
        return Estimate(mean=_gap(fmean(ours.values()), fmean(theirs.values())), std=None, n=len(ours))

    return difference


def _gap(one: float, other: float) -> float:
    """0 where both are equal, also where both are exact."""
    return 0.0 if one == other else one - other


def _by_seed(configuration: Configuration, of: _OfRun) -> dict[str, float]:
    """A seed that was run several times counts with its mean."""
    values: dict[str, list[float]] = {}
    for run in configuration.finished:
        psnr = of(run)
        if psnr is not None and not math.isnan(psnr):
            values.setdefault(str(run.seed), []).append(psnr)
    return {seed: fmean(each) for seed, each in values.items()}


def _cost(of: Callable[[Run], float | None]) -> Callable[[Configuration], Estimate | None]:
    """Costs are measured before training: also of runs that did not finish."""
    return lambda each: _estimate([of(run) for run in each.runs])


def _latency_of(latencies: LabLatencies | None) -> Callable[[Configuration], Estimate | None]:
    if latencies is None:
        return _own_latency

    def of(each: Configuration) -> Estimate | None:
        found = latencies.of(each.runs)
        return found and Estimate(found.median_ms, None, found.rounds, low=found.p10_ms, high=found.p90_ms)

    return of


def _memory_of(latencies: LabLatencies | None) -> Callable[[Configuration], Estimate | None]:
    if latencies is None:
        return _cost(lambda run: run.costs.memory_mib)

    def of(each: Configuration) -> Estimate | None:
        found = latencies.of(each.runs)
        if found is None or found.memory_mib is None:
            return None
        return Estimate(found.memory_mib, std=None, n=1)

    return of


def _own_latency(each: Configuration) -> Estimate | None:
    """Medians over the runs, never a mean: one disturbed measurement must not show."""
    costs = [run.costs for run in each.runs if run.costs.latency_ms is not None]
    if not costs:
        return None
    low = [cost.latency_p10_ms for cost in costs if cost.latency_p10_ms is not None]
    high = [cost.latency_p90_ms for cost in costs if cost.latency_p90_ms is not None]
    return Estimate(
        mean=median(cost.latency_ms for cost in costs if cost.latency_ms is not None),
        std=None,
        n=len(costs),
        low=median(low) if low else None,
        high=median(high) if high else None,
    )


def _estimate(values: Sequence[float | None]) -> Estimate | None:
    known = [float(value) for value in values if value is not None and not math.isnan(value)]
    if not known or {math.inf, -math.inf} <= set(known):
        return None
    finite = all(map(math.isfinite, known))
    std = stdev(known) if len(known) > 1 and finite else None
    return Estimate(mean=fmean(known), std=std, n=len(known))


def _with_digits(column: Column, estimates: Sequence[Estimate | None]) -> Column:
    """Costs get three significant digits in their smallest value, scores the field's usual ones."""
    if column.is_score:
        return column
    sizes = [abs(each.mean) / column.divisor for each in estimates if each is not None and each.mean]
    smallest = min(sizes, default=1.0)
    return replace(column, digits=min(4, max(0, 2 - math.floor(math.log10(smallest)))))


def _marked(column: Column, estimates: Sequence[Estimate | None]) -> list[Estimate | None]:
    """Best and second best as shown: what reads the same shares its mark; nothing if all are the same."""
    if column.better is None:
        return list(estimates)
    shown = {round(each.mean / column.divisor, column.digits) for each in estimates if each is not None}
    ranked = sorted(shown, reverse=column.better == "higher")
    names: tuple[Mark, ...] = ("best", "second")
    marks = dict(zip(ranked, names[: len(ranked) - 1], strict=False))
    return [
        each and replace(each, mark=marks.get(round(each.mean / column.divisor, column.digits)))
        for each in estimates
    ]


def _caption(comparison: Comparison) -> str:
    parts = [
        f"PSNR and SSIM of validation images under {scored_under(comparison.runs)}, "
        "best checkpoint of each run; mean ± sample standard deviation over seeds.",
    ]
    if comparison.baseline is not None and len(comparison.finished) > 1:
        parts.append(
            f"Δ is the difference from row {comparison.baseline.number}, {comparison.baseline.label} "
            f"({comparison.baseline_reason}), over the seeds that both have, else of the means."
        )
    parts.append("Multiply-adds at 1280x720.")
    latency = latency_caption(comparison.runs, comparison.latencies)
    parts += [latency] if latency else []
    return " ".join([*parts, "Best in bold, second best underlined; equal as shown is equal."])
