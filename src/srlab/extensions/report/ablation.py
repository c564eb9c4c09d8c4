"""Computes the ablation table: a row for each configuration, best and second best marked."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median, stdev
from typing import Any

from srlab.extensions.report.comparability import latencies_are_comparable, scored_under
from srlab.extensions.report.comparison import Comparison, Configuration, as_comparison
from srlab.extensions.report.latencies import latency_caption
from srlab.extensions.report.paired import PairedDifference, paired_difference, seed_of
from srlab.extensions.report.runs import Run, gap
from srlab.extensions.report.tables import AblationTable, Column, Estimate, Row
from srlab.metrics.registry import find_metric, list_metrics

_MEAN_SET = "mean of sets"
_PSNR = "psnr"
_Estimates = list[Estimate | None]  # one for each configuration
_Pairs = dict[str, list[PairedDifference | None]]  # the same by name of a set or group


def ablation_table(runs: Comparison | Sequence[Run]) -> AblationTable:
    """One row for each configuration, also for those without scores.

    Args:
        runs: a comparison, or runs to compare with the default baseline.
    """
    comparison = as_comparison(runs)
    pairs = _pairs(comparison)
    measured = [each for each in (*_scores(comparison, pairs), *cost_columns(comparison)) if any(each[1])]
    columns = tuple(_with_digits(*each) for each in measured)
    cells = [_marked(column, each) for column, (_, each) in zip(columns, measured, strict=True)]
    rows = [
        Row(each, tuple(estimates[place] for estimates in cells), each is comparison.baseline)
        for place, each in enumerate(comparison.configurations)
    ]
    return AblationTable(comparison.parameters, columns, tuple(rows), _caption(comparison, pairs))


def mean_psnr(configuration: Configuration, sets: Sequence[str]) -> Estimate | None:
    """Mean over the sets, over the seeds; of runs that were scored on all of ``sets``."""
    return _estimate(_by_seed(configuration, sets, _PSNR).values())


def metric_heading(name: str, set_name: str = "") -> str:
    """``PSNR Set5 (dB)``; the bare name of a metric that this version does not know."""
    label, bracket, unit = (find_metric(name).heading if name in list_metrics() else name).partition(" (")
    return f"{label} {set_name}".strip() + bracket + unit


def _pairs(comparison: Comparison) -> _Pairs:
    """By set and group: each configuration's difference from the baseline; empty without two to compare."""
    baseline = comparison.baseline
    if baseline is None or len(comparison.finished) < 2:
        return {}
    set_of = {image.key: image.set_name for run in comparison.runs for image in run.images}
    keys = {name: {key for key, of in set_of.items() if of == name} for name in comparison.sets}
    return {
        name: [
            None if each is baseline or not each.finished else paired_difference(baseline, each, images)
            for each in comparison.configurations
        ]
        for name, images in {**keys, **comparison.groups}.items()
    }


def _scores(comparison: Comparison, pairs: _Pairs) -> Iterator[tuple[Column, _Estimates]]:
    """PSNR is followed by its difference from the baseline."""
    rows = comparison.configurations
    several = {_MEAN_SET: comparison.sets} if len(comparison.sets) > 1 else {}
    for name, sets in ({name: (name,) for name in comparison.sets} | several).items():
        for metric in comparison.metrics:
            column = _metric_column(metric, name)
            scores = [_by_seed(each, sets, metric) for each in rows]
            yield column, [_estimate(each.values()) for each in scores]
            if metric == _PSNR and pairs:
                theirs = scores[rows.index(comparison.baseline)]
                gains = [None if ours is theirs else _difference(ours, theirs) for ours in scores]
                yield from _difference_columns(column, name, gains, pairs.get(name, ()))
    for group in comparison.groups if pairs and _PSNR in comparison.metrics else ():
        gains = [pair and _estimate([pair.mean]) for pair in pairs[group]]
        yield from _difference_columns(_metric_column(_PSNR, group), group, gains, pairs[group])


def _difference_columns(
    column: Column, name: str, gains: _Estimates, pairs: Sequence[PairedDifference | None]
) -> Iterator[tuple[Column, _Estimates]]:
    """The difference, with its confidence interval where there is one; then the detectable difference."""
    column = replace(column, better=None)
    shown: _Estimates = list(gains)
    detectable: _Estimates = [None] * len(gains)
    for place, pair in enumerate(pairs):
        if pair is not None and pair.mean is not None and pair.detectable is not None:
            shown[place] = Estimate(pair.mean, None, pair.seeds, pair.low, pair.high)
            detectable[place] = Estimate(pair.detectable, None, pair.seeds)
    heading, ends = f"Δ {column.heading}", ("low", "high")
    yield replace(column, key=f"difference/{name}", heading=heading, signed=True, ends=ends), shown
    yield replace(column, key=f"detectable/{name}", heading=f"detectable {heading}"), detectable


def cost_columns(comparison: Comparison) -> Iterator[tuple[Column, _Estimates]]:
    """Parameters, multiply-adds, latency and memory of each configuration, also of those without scores."""
    rows, lab = comparison.configurations, comparison.latencies

    def own(cost: str) -> _Estimates:
        return [_estimate(getattr(run.costs, cost) for run in each.runs) for each in rows]

    yield Column("params", "params (K)", "lower", divisor=1e3), own("params")
    yield Column("multiply_adds", "mult-adds (G)", "lower", divisor=1e9), own("multiply_adds")
    # costs that were measured under different conditions have no best
    better = "lower" if lab or latencies_are_comparable(comparison.runs) else None
    latency = [_lab_latency(lab.of(each.runs)) if lab else _own_latency(each) for each in rows]
    yield Column("latency_ms", "latency (ms)", better), latency
    memory = [_lab_memory(lab.of(each.runs)) for each in rows] if lab else own("memory_mib")
    yield Column("memory_mib", "memory (MiB)", better), memory


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
    marks: dict[float | None, str] = dict(zip(ranked, ("best", "second")[: len(ranked) - 1], strict=False))
    return [
        each and replace(each, mark=marks.get(value)) for each, value in zip(estimates, shown, strict=True)
    ]


def _caption(comparison: Comparison, pairs: _Pairs) -> str:
    parts = [
        f"Scores of validation images under {scored_under(comparison.runs)}, best checkpoint of each run; "
        "mean ± sample standard deviation over seeds.",
        *_caption_of_differences(comparison, pairs),
        "Multiply-adds at 1280x720.",
        latency_caption(comparison.runs, comparison.latencies),
        "Best in bold, second best underlined; equal as shown is equal.",
    ]
    return " ".join(filter(None, parts))


def _caption_of_differences(comparison: Comparison, pairs: _Pairs) -> Iterator[str]:
    """What Δ is, and what its interval needs and the runs do not have."""
    baseline = comparison.baseline
    if baseline is None or not pairs:
        return
    yield (
        f"Δ is the difference from row {baseline.number}, {baseline.label} ({comparison.baseline_reason}), "
        "over the seeds that both have, else of the means; in brackets its 95 % confidence interval for "
        "other seeds and images. Detectable Δ is the smallest true difference that a two-sided test at 5 % "
        "finds with a power of 80 %, given these seeds and images."
    )
    names = defaultdict(list)
    for name, of_name in pairs.items():
        reasons = defaultdict(list)
        for configuration, pair in zip(comparison.configurations, of_name, strict=True):
            if pair is not None and pair.missing is not None:
                reasons[pair.missing].append(str(configuration.number))
        for reason, rows in reasons.items():
            names[", ".join(rows), reason].append(name)
    for (rows, reason), of in names.items():
        yield f"No interval on {', '.join(of)} for row{'s' * (',' in rows)} {rows}: {reason}."


def _difference(ours: Mapping[str, float], theirs: Mapping[str, float]) -> Estimate | None:
    """Over the seeds that both have: what a seed does to both cancels out.

    Without a common seed it is that of the means, which has no spread.
    """
    common = sorted(ours.keys() & theirs.keys())
    if common:
        return _estimate(gap(ours[seed], theirs[seed]) for seed in common)
    if not ours or not theirs:
        return None
    return Estimate(mean=gap(fmean(ours.values()), fmean(theirs.values())), std=None, n=len(ours))


def _own_latency(configuration: Configuration) -> Estimate | None:
    """Medians of what the runs measured, so that one disturbed measurement does not show."""
    costs = [run.costs for run in configuration.runs]
    parts = [(cost.latency_ms, cost.latency_p10_ms, cost.latency_p90_ms) for cost in costs]
    known = [[value for value in part if value is not None] for part in zip(*parts, strict=True)]
    middle, low, high = (median(part) if part else None for part in known)
    return None if middle is None else Estimate(middle, None, len(known[0]), low, high)


def _lab_latency(found: Mapping[str, Any] | None) -> Estimate | None:
    if found is None:
        return None
    time = found["time_ms"]
    return Estimate(time["median"], None, found["rounds"], time["p10"], time["p90"])


def _lab_memory(found: Mapping[str, Any] | None) -> Estimate | None:
    memory = (found or {}).get("memory", {})
    on_gpu, on_cpu = memory.get("allocated_mib"), memory.get("live_mib")
    return _estimate([on_cpu if on_gpu is None else on_gpu])


def _by_seed(configuration: Configuration, sets: Sequence[str], metric: str) -> dict[str, float]:
    """Means over the sets, of runs that have them all, because sets are not equally hard.

    A seed that was run several times counts once, with its mean; NaN is left out.
    """
    values = defaultdict(list)
    for run in configuration.finished:
        scores = [run.scores[name][metric] for name in sets if metric in run.scores.get(name, {})]
        if len(scores) == len(sets) and not any(map(math.isnan, scores)):
            values[seed_of(run)].append(fmean(scores))
    return {seed: fmean(each) for seed, each in values.items()}


def _estimate(values: Iterable[float | None]) -> Estimate | None:
    known = [float(value) for value in values if value is not None and not math.isnan(value)]
    if not known or {math.inf, -math.inf} <= set(known):
        return None
    has_spread = len(known) > 1 and all(map(math.isfinite, known))
    return Estimate(mean=fmean(known), std=stdev(known) if has_spread else None, n=len(known))
