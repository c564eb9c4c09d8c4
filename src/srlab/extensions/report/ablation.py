"""Computes the ablation table: a row for each configuration, best and second best marked."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean, median, stdev

from srlab.extensions.report.comparability import latencies_are_comparable, scored_under
from srlab.extensions.report.comparison import Comparison, Configuration, as_comparison
from srlab.extensions.report.latencies import LabLatencies, latency_caption
from srlab.extensions.report.runs import Run, RunCosts
from srlab.extensions.report.tables import AblationTable, Column, Estimate, Mark, Row
from srlab.metrics.registry import find_metric, list_metrics

_MEAN_SET = "mean of sets"
_PSNR = "psnr"
# What a column shows of one configuration.
_Measure = Callable[[Configuration], Estimate | None]


def ablation_table(runs: Comparison | Sequence[Run]) -> AblationTable:
    """One row for each configuration, also for those without scores.

    Args:
        runs: a comparison, or runs to compare with the default baseline.
    """
    comparison = as_comparison(runs)
    columns: list[Column] = []
    cells: list[list[Estimate | None]] = []
    for column, measure in _measures(comparison):
        estimates = [measure(each) for each in comparison.configurations]
        if any(estimates):
            columns.append(_with_digits(column, estimates))
            cells.append(_marked(columns[-1], estimates))
    rows = [
        Row(each, tuple(estimates[place] for estimates in cells), each is comparison.baseline)
        for place, each in enumerate(comparison.configurations)
    ]
    return AblationTable(comparison.parameters, tuple(columns), tuple(rows), _caption(comparison))


def mean_score(configuration: Configuration, sets: Sequence[str], metric: str = "psnr") -> Estimate | None:
    """Mean over the sets, over the seeds; of runs that were scored on all of ``sets``."""
    return _estimate(_score(run, sets, metric) for run in configuration.finished)


def metric_heading(name: str, set_name: str = "") -> str:
    """``PSNR Set5 (dB)``; the bare name of a metric that this version does not know."""
    label, bracket, unit = (find_metric(name).heading if name in list_metrics() else name).partition(" (")
    return f"{label} {set_name}".strip() + bracket + unit


def _measures(comparison: Comparison) -> Iterator[tuple[Column, _Measure]]:
    """Scores, PSNR followed by its difference to the baseline, then costs."""
    several = {_MEAN_SET: comparison.sets} if len(comparison.sets) > 1 else {}
    for name, sets in ({name: (name,) for name in comparison.sets} | several).items():
        for metric in comparison.metrics:
            column = _metric_column(metric, name)
            yield column, partial(mean_score, sets=sets, metric=metric)
            if metric == _PSNR and comparison.baseline is not None and len(comparison.finished) > 1:
                key, heading = f"difference/{name}", f"Δ {column.heading}"
                difference = _difference(comparison.baseline, sets, metric)
                yield replace(column, key=key, heading=heading, better=None, signed=True), difference
    # costs that were measured under different conditions have no best
    better = "lower" if comparison.latencies or latencies_are_comparable(comparison.runs) else None
    params = Column("params", "params (K)", "lower", divisor=1e3)
    multiply_adds = Column("multiply_adds", "mult-adds (G)", "lower", divisor=1e9)
    yield params, _cost(lambda costs: costs.params)
    yield multiply_adds, _cost(lambda costs: costs.multiply_adds)
    yield Column("latency_ms", "latency (ms)", better), _latency(comparison.latencies)
    yield Column("memory_mib", "memory (MiB)", better), _memory(comparison.latencies)


def _metric_column(name: str, set_name: str) -> Column:
    column = Column(f"{name}/{set_name}", metric_heading(name, set_name), None, digits=4, is_score=True)
    if name not in list_metrics():
        return column
    metric = find_metric(name)
    return replace(column, digits=metric.decimals, better="higher" if metric.higher_is_better else "lower")


def _with_digits(column: Column, estimates: Sequence[Estimate | None]) -> Column:
    """Costs get three significant digits in their smallest value; scores have the metric's decimals."""
    if column.is_score:
        return column
    sizes = [abs(each.mean) / column.divisor for each in estimates if each is not None and each.mean]
    smallest = min(sizes, default=1.0)
    return replace(column, digits=min(4, max(0, 2 - math.floor(math.log10(smallest)))))


def _marked(column: Column, estimates: Sequence[Estimate | None]) -> list[Estimate | None]:
    """Best and second best as shown: values that read the same share a mark; none if all read the same."""
    if column.better is None:
        return list(estimates)
    shown = [each and round(each.mean / column.divisor, column.digits) for each in estimates]
    ranked = sorted({value for value in shown if value is not None}, reverse=column.better == "higher")
    names: tuple[Mark, ...] = ("best", "second")
    marks: dict[float | None, Mark] = dict(zip(ranked, names[: len(ranked) - 1], strict=False))
    return [
        each and replace(each, mark=marks.get(value)) for each, value in zip(estimates, shown, strict=True)
    ]


def _caption(comparison: Comparison) -> str:
    parts = [
        f"Scores of validation images under {scored_under(comparison.runs)}, best checkpoint of each run; "
        "mean ± sample standard deviation over seeds.",
    ]
    if comparison.baseline is not None and len(comparison.finished) > 1:
        parts.append(
            f"Δ is the difference from row {comparison.baseline.number}, {comparison.baseline.label} "
            f"({comparison.baseline_reason}), over the seeds that both have, else of the means."
        )
    latency = latency_caption(comparison.runs, comparison.latencies)
    parts += ["Multiply-adds at 1280x720.", *([latency] if latency else [])]
    return " ".join([*parts, "Best in bold, second best underlined; equal as shown is equal."])


def _difference(baseline: Configuration, sets: Sequence[str], metric: str) -> _Measure:
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


def _cost(of: Callable[[RunCosts], float | None]) -> _Measure:
    """Mean of a cost, also of runs that did not finish."""
    return lambda each: _estimate(of(run.costs) for run in each.runs)


def _latency(lab: LabLatencies | None) -> _Measure:
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


def _memory(lab: LabLatencies | None) -> _Measure:
    """Of the lab, or each run's own."""
    if lab is None:
        return _cost(lambda costs: costs.memory_mib)

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
