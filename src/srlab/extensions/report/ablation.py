"""Computes the ablation table: a row for each configuration, best and second best marked."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from srlab.extensions.report.comparability import latencies_are_comparable, scored_under
from srlab.extensions.report.comparison import Comparison, as_comparison
from srlab.extensions.report.estimates import (
    Estimate,
    Mark,
    Measure,
    cost_measure,
    difference_measure,
    latency_measure,
    mean_score,
    memory_measure,
)
from srlab.extensions.report.latencies import latency_caption
from srlab.extensions.report.runs import Run
from srlab.extensions.report.tables import AblationTable, Column, Row
from srlab.metrics.registry import find_metric, list_metrics

__all__ = ["ablation_table", "metric_heading"]

_MEAN_SET = "mean of sets"
_PSNR = "psnr"


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


def metric_heading(name: str, set_name: str = "") -> str:
    """``PSNR Set5 (dB)``; the bare name of a metric that this version does not know."""
    label, bracket, unit = (find_metric(name).heading if name in list_metrics() else name).partition(" (")
    return f"{label} {set_name}".strip() + bracket + unit


def _measures(comparison: Comparison) -> Iterator[tuple[Column, Measure]]:
    """Scores, PSNR followed by its difference to the baseline, then costs."""
    several = {_MEAN_SET: comparison.sets} if len(comparison.sets) > 1 else {}
    for name, sets in ({name: (name,) for name in comparison.sets} | several).items():
        for metric in comparison.metrics:
            column = _metric_column(metric, name)
            yield column, partial(mean_score, sets=sets, metric=metric)
            if metric == _PSNR and comparison.baseline is not None and len(comparison.finished) > 1:
                key, heading = f"difference/{name}", f"Δ {column.heading}"
                difference = difference_measure(comparison.baseline, sets, metric)
                yield replace(column, key=key, heading=heading, better=None, signed=True), difference
    # costs that were measured under different conditions have no best
    better = "lower" if comparison.latencies or latencies_are_comparable(comparison.runs) else None
    params = Column("params", "params (K)", "lower", divisor=1e3)
    multiply_adds = Column("multiply_adds", "mult-adds (G)", "lower", divisor=1e9)
    yield params, cost_measure(lambda costs: costs.params)
    yield multiply_adds, cost_measure(lambda costs: costs.multiply_adds)
    yield Column("latency_ms", "latency (ms)", better), latency_measure(comparison.latencies)
    yield Column("memory_mib", "memory (MiB)", better), memory_measure(comparison.latencies)


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
