"""What must be equal before scores and latencies may be compared: faults are warnings."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from srlab.extensions.report.latencies import width_by_height
from srlab.extensions.report.parameters import Parameter, shown_value
from srlab.extensions.report.runs import Run
from srlab.metrics.protocol import GrayRule
from srlab.runs.contract import validation_key

_SHOWN = 4  # values listed; more are counted
# Where the data lie and how they are loaded, which is not what they are.
_NOT_THE_DATA = frozenset({"cache", "num_workers", "degrade_on", "seed", "scale"})
_OWN = GrayRule.own.name
_COUNTED = {GrayRule.replicate.name: "as three equal channels", _OWN: "as their own luma"}


def under_one_gray_rule(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """``runs`` and a warning; where their gray rules differ, those with ``own`` lose their scores."""
    if len({run.gray_rule for run in runs} - {None}) < 2:
        return list(runs), []
    kept = [_without_scores(run) if run.gray_rule == _OWN else run for run in runs]
    left_out = sum(run.finished for run in runs) - sum(run.finished for run in kept)
    warning = (
        f"scores of {left_out} of {len(runs)} runs are left out: they count gray images {_COUNTED[_OWN]}, or "
        f"may (gray={_OWN}, the rule of records that name none), the others "
        f"{_COUNTED[GrayRule.replicate.name]}; evaluate.py checkpoint=RUN scores them again"
    )
    return kept, [warning] if left_out else []


def _without_scores(run: Run) -> Run:
    state = f"gray={_OWN}" if run.finished else run.state
    curves = {key: curve for key, curve in run.curves.items() if not key.startswith(validation_key(""))}
    return replace(run, state=state, scores={}, images=(), curves=curves)


def scored_under(runs: Sequence[Run]) -> str:
    """The protocols of ``runs`` in words, and how gray images count if there may be any."""
    protocols = sorted({str(run.protocol["name"]) for run in runs if "name" in run.protocol})
    rules = sorted({run.gray_rule for run in runs if run.finished and run.gray_rule})
    gray = "".join(f", gray images {_COUNTED[rule]}" for rule in rules)
    return (" and ".join(protocols) or "an unknown protocol") + gray


def comparability_warnings(
    runs: Sequence[Run], parameters: Sequence[Parameter], *, own_latencies: bool
) -> list[str]:
    """One sentence for each fault; what a sweep varies is none, unless scores cannot be compared."""
    finished = [run for run in runs if run.finished]
    on_purpose = {parameter.key.partition(".")[0] for parameter in parameters if parameter.swept}
    # runs that did not finish have latencies as well
    checked = [(finished, *each) for each in _CONDITIONS if each[1] not in on_purpose]
    checked += [(list(runs), *each) for each in _LATENCY_CONDITIONS if own_latencies]
    warnings = [
        f"{name} differ: {found}; {consequence}"
        for of, name, _, value_of, consequence in checked
        if (found := _different(of, value_of))
    ]
    if any(str(run.conditions.get("commit")).endswith("+changes") for run in finished):
        warnings.append("some runs used sources with uncommitted changes")
    scores = [[score for of_set in run.scores.values() for score in of_set.values()] for run in finished]
    if count := sum(any(map(math.isnan, of_run)) for of_run in scores):
        warnings.append(f"{count} of {len(finished)} finished runs have NaN scores, which means leave out")
    warnings += [problem for run in runs for problem in run.problems]
    without = Counter(run.state for run in runs if not run.finished)
    if without:
        counts = ", ".join(f"{count} {state}" for state, count in without.items())
        warnings.append(f"{without.total()} of {len(runs)} runs have no scores: {counts}")
    return list(dict.fromkeys(warnings))


def latencies_are_comparable(runs: Sequence[Run]) -> bool:
    """Whether all runs measured their own latency and memory on one device and at one size."""
    return not any(_different(runs, value_of) for _, _, value_of, _ in _LATENCY_CONDITIONS)


def _different(runs: Sequence[Run], value_of: Callable[[Run], str | None]) -> str:
    """The values and how many runs have each; empty if all agree. None is unknown and left out."""
    counts = Counter(value for run in runs if (value := value_of(run)) is not None)
    if len(counts) < 2:
        return ""
    listed = [f"{value} ({count} run{'s' if count > 1 else ''})" for value, count in counts.most_common()]
    more = [f"{len(listed) - _SHOWN} more"] if len(listed) > _SHOWN else []
    return ", ".join(listed[:_SHOWN] + more)


def _protocol(run: Run) -> str:
    details = {key: value for key, value in run.protocol.items() if key not in ("name", "gray")}
    return f"{run.protocol.get('name')} {json.dumps(details, sort_keys=True)}"


def _sets(run: Run) -> str:
    counts = {name: run.image_counts.get(name) for name in sorted(run.scores)}
    return " + ".join(f"{name} of {count or 'unknown'} images" for name, count in counts.items())


def _image_names(run: Run) -> str | None:
    names = sorted(image.key for image in run.images)
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:6]
    return f"{names[0]} … {names[-1]} ({len(names)} names, {digest})" if names else None


def _training_data(run: Run) -> str | None:
    data = {key.removeprefix("data."): run.config[key] for key in run.config if key.startswith("data.")}
    listed = [
        f"{name}={shown_value(value)}"
        for name, value in sorted(data.items())
        if name not in _NOT_THE_DATA and not name.startswith("degradation.")
    ]
    return " ".join(listed) or None


def _setting(key: str) -> Callable[[Run], str | None]:
    return lambda run: shown_value(run.config[key]) if key in run.config else None


def _commit(run: Run) -> str | None:
    return str(run.conditions.get("commit") or "")[:12] or None


def _latency_size(run: Run) -> str | None:
    return run.costs.output_size and width_by_height(run.costs.output_size)


# (what, configuration group by which a sweep may vary it, its value, consequence)
_Condition = tuple[str, str | None, Callable[[Run], str | None], str]
_INCOMPARABLE = "their scores cannot be compared"
_CONDITIONS: tuple[_Condition, ...] = (
    ("scoring protocols", None, _protocol, _INCOMPARABLE),
    ("validation sets", None, _sets, _INCOMPARABLE),
    ("validation images", None, _image_names, _INCOMPARABLE),
    ("scales", None, _setting("scale"), _INCOMPARABLE),
    ("training data", "data", _training_data, "this may explain differences"),
    ("numbers of steps", "trainer", _setting("trainer.max_steps"), "longer runs have an advantage"),
    ("commits", None, _commit, "this may explain differences"),
)
_LATENCY_CONDITIONS: tuple[_Condition, ...] = (
    ("devices of the latency", None, lambda run: run.costs.device, "their latencies cannot be compared"),
    ("image sizes of the latency", None, _latency_size, "their latencies cannot be compared"),
)
