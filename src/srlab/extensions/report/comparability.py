"""What must be equal for scores and latencies to be comparable, and is not."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence

from srlab.extensions.report.configuration_files import shown_value
from srlab.extensions.report.parameters import Parameter
from srlab.extensions.report.runs import Run

__all__ = ["comparability_warnings", "latencies_are_comparable"]

_SHOWN = 4  # values listed; more are counted
# Named where they lie, not what they are: the same data lie elsewhere on another machine.
_NOT_THE_DATA = frozenset({"cache", "num_workers", "degrade_on", "seed", "scale"})


def comparability_warnings(
    runs: Sequence[Run], parameters: Sequence[Parameter], *, own_latencies: bool = True
) -> list[str]:
    """One sentence for each fault; a condition that a sweep varies on purpose is none, scores apart.

    Args:
        runs: what is compared.
        parameters: what they vary.
        own_latencies: whether the latencies shown are those that each run measured itself.
    """
    finished = [run for run in runs if run.finished]
    on_purpose = {parameter.key.partition(".")[0] for parameter in parameters if parameter.swept}
    warnings = [
        f"{name} differ: {found}; {consequence}"
        for name, group, value_of, consequence in _CONDITIONS
        if group not in on_purpose and (found := _different(finished, value_of))
    ]
    if own_latencies:  # which runs have that did not finish, too
        warnings += [
            f"{name} differ: {found}; their latencies cannot be compared"
            for name, value_of in _LATENCY_CONDITIONS
            if (found := _different(runs, value_of))
        ]
    if any(str(run.conditions.get("commit")).endswith("+changes") for run in finished):
        warnings.append("some runs are of sources with changes that no commit holds")
    if without_number := sum(any(math.isnan(each.psnr) for each in run.scores.values()) for run in finished):
        warnings.append(
            f"the PSNR of {without_number} of {len(finished)} finished runs is no number, and in no mean"
        )
    warnings += [problem for run in runs for problem in run.problems]
    without = Counter(run.state for run in runs if not run.finished)
    if without:
        counts = ", ".join(f"{count} {state}" for state, count in without.items())
        warnings.append(f"{sum(without.values())} of {len(runs)} runs have no scores: {counts}")
    return list(dict.fromkeys(warnings))


def latencies_are_comparable(runs: Sequence[Run]) -> bool:
    """Whether all runs measured their own latency and memory on one device, at one size."""
    return not any(_different(runs, value_of) for _, value_of in _LATENCY_CONDITIONS)


def _different(runs: Sequence[Run], value_of: Callable[[Run], str | None]) -> str:
    """Empty if all agree; runs that do not tell are left out."""
    counts = Counter(value for run in runs if (value := value_of(run)) is not None)
    if len(counts) < 2:
        return ""
    listed = [f"{value} ({count} run{'s' if count > 1 else ''})" for value, count in counts.most_common()]
    more = [f"{len(listed) - _SHOWN} more"] if len(listed) > _SHOWN else []
    return ", ".join(listed[:_SHOWN] + more)


def _protocol(run: Run) -> str | None:
    if not run.protocol_details:
        return run.protocol
    # scores of several gray rules are never here together: srlab.extensions.report.gray_rules
    details = {key: value for key, value in run.protocol_details.items() if key not in ("name", "gray")}
    return f"{run.protocol} {json.dumps(details, sort_keys=True)}"


def _sets(run: Run) -> str:
    return " + ".join(
        f"{name} of {'unknown size' if score.images is None else f'{score.images} images'}"
        for name, score in sorted(run.scores.items())
    )


def _image_names(run: Run) -> str | None:
    names = sorted(image.key for image in run.images)
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:6]
    return f"{names[0]} … {names[-1]} ({len(names)} names, {digest})" if names else None


def _training_data(run: Run) -> str | None:
    described = {
        key.removeprefix("data."): value
        for key, value in run.config.items()
        if key.startswith(("data.", "degradation.")) and key.removeprefix("data.") not in _NOT_THE_DATA
    }
    listed = sorted(
        f"{key}={shown_value(value)}" for key, value in described.items() if "degradation." not in key
    )
    return " ".join(listed) or None


def _setting(key: str) -> Callable[[Run], str | None]:
    return lambda run: shown_value(run.config[key]) if key in run.config else None


def _commit(run: Run) -> str | None:
    commit = run.conditions.get("commit")
    return None if commit is None else str(commit)[:12]


def _latency_size(run: Run) -> str | None:
    size = run.costs.output_size
    return None if size is None else f"{size[1]}x{size[0]}"


_INCOMPARABLE = "their scores cannot be compared"
# (what, configuration group that a sweep may vary it by, its value, what follows)
_CONDITIONS: tuple[tuple[str, str | None, Callable[[Run], str | None], str], ...] = (
    ("scoring protocols", None, _protocol, _INCOMPARABLE),
    ("validation sets", None, _sets, _INCOMPARABLE),
    ("validation images", None, _image_names, _INCOMPARABLE),
    ("scales", None, _setting("scale"), _INCOMPARABLE),
    ("training data", "data", _training_data, "differences may come from there"),
    ("numbers of steps", "trainer", _setting("trainer.max_steps"), "the longer ones are at an advantage"),
    ("commits", None, _commit, "differences may come from the sources"),
)
_LATENCY_CONDITIONS: tuple[tuple[str, Callable[[Run], str | None]], ...] = (
    ("devices of the latency", lambda run: run.costs.device),
    ("image sizes of the latency", _latency_size),
)
