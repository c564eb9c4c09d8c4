"""Runs side by side: one configuration for all seeds, the baseline, warnings, and gains image by image."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

from srlab.extensions.report.comparability import comparability_warnings, under_one_gray_rule
from srlab.extensions.report.latencies import LabLatencies, latency_warnings
from srlab.extensions.report.parameters import Parameter, differing_keys, parameter_values, varied_parameters
from srlab.extensions.report.runs import Run, gap
from srlab.terminal.names import some

_OTHERS = "other images"


@dataclass(frozen=True)
class Configuration:
    """Runs that differ in the seed alone; ``number`` counts from 1, in the order of the table.

    ``values`` are those of the parameters that the comparison varies, ``label`` the same in words.
    """

    number: int
    values: tuple[str, ...]
    label: str
    runs: tuple[Run, ...]

    @cached_property
    def finished(self) -> tuple[Run, ...]:
        """Those with scores."""
        return tuple(run for run in self.runs if run.finished)

    @property
    def states(self) -> str:
        """``2``, or ``1 of 2 (1 failed)`` if runs have no scores."""
        others = Counter(run.state for run in self.runs if not run.finished)
        missing = ", ".join(f"{count} {state}" for state, count in others.items())
        return f"{len(self.finished)} of {len(self.runs)} ({missing})" if missing else str(len(self.runs))


@dataclass(frozen=True)
class Comparison:
    """What a report shows: all runs, also those that failed, and what a reader must know first.

    Without ``latencies`` of the lab, each run's own are shown. ``baseline`` is None if no run finished.
    ``groups`` are keys of images by name of the group.
    """

    runs: tuple[Run, ...]
    parameters: tuple[Parameter, ...]
    configurations: tuple[Configuration, ...]
    baseline: Configuration | None
    baseline_reason: str
    warnings: tuple[str, ...]
    latencies: LabLatencies | None = None
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @cached_property
    def finished(self) -> tuple[Configuration, ...]:
        """Configurations with at least one score."""
        return tuple(each for each in self.configurations if each.finished)

    @cached_property
    def sets(self) -> tuple[str, ...]:
        """Validation sets that any run was scored on."""
        return tuple(dict.fromkeys(name for run in self.runs if run.finished for name in run.scores))

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that any run was scored by."""
        scores = (scores for run in self.runs if run.finished for scores in run.scores.values())
        return tuple(dict.fromkeys(metric for each in scores for metric in each))


def compare(
    runs: Sequence[Run],
    *,
    baseline: str | None = None,
    latencies: LabLatencies | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Comparison:
    """Group ``runs`` by what they vary.

    Args:
        runs: at least one.
        baseline: a row's number, a cell's name, a run's folder, or values (``n_share=0,window_sizes=[8,8]``).
            Default: of one sweep the first configuration whose network is an unchanged preset, else the first
            of the table; of other runs that of the first given.
        latencies: shown, with their memory, instead of those that each run measured itself.
        groups: names of validation images, as runs record them, whose differences are shown by themselves, by
            name of the group; next to them those of the images that are in none.

    Raises:
        ValueError: no runs, ``baseline`` does not name exactly one configuration that finished, or a group
            has an image that no run was scored on.
    """
    if not runs:
        raise ValueError("no runs to compare")
    runs, gray_warnings = under_one_gray_rule(runs)
    parameters = varied_parameters(runs)
    configurations = _configurations(runs, parameters)
    if baseline is None:
        chosen, reason = _default_baseline(configurations, runs)
    else:
        chosen, reason = _named(baseline, configurations, parameters), "as requested"
    return Comparison(
        runs=tuple(run for each in configurations for run in each.runs),
        parameters=parameters,
        configurations=configurations,
        baseline=chosen,
        baseline_reason=reason,
        warnings=(
            *gray_warnings,
            *comparability_warnings(runs, parameters, own_latencies=latencies is None),
            *latency_warnings(runs, {each.number: each.runs for each in configurations}, latencies),
        ),
        latencies=latencies,
        groups=_grouped(runs, groups or {}),
    )


def _grouped(runs: Sequence[Run], groups: Mapping[str, Sequence[str]]) -> dict[str, frozenset[str]]:
    """Keys of the images of each group, and of all others under ``other images``."""
    names = {image.key: image.name for run in runs for image in run.images}
    taken = {_OTHERS, *(image.set_name for run in runs for image in run.images)}
    keys = {}
    for group, wanted in groups.items():
        if group in taken:
            raise ValueError(f"group {group}: choose a name that is none of {', '.join(sorted(taken))}")
        if unknown := sorted({*wanted} - {*names.values()}):
            known = some(sorted(names.values())) or "not recorded"
            raise ValueError(f"group {group}: no run was scored on {some(unknown)}; images are {known}")
        keys[group] = frozenset(key for key, name in names.items() if name in wanted)
    others = frozenset(names).difference(*keys.values())
    return {**keys, _OTHERS: others} if keys and others else keys


def as_comparison(runs: "Comparison | Sequence[Run]") -> Comparison:
    """``runs``, compared if they are not yet."""
    return runs if isinstance(runs, Comparison) else compare(runs)


def _configurations(runs: Sequence[Run], parameters: Sequence[Parameter]) -> tuple[Configuration, ...]:
    groups = defaultdict(list)
    for run in runs:
        groups[parameter_values(run, parameters)].append(run)

    def rank(values: tuple[str, ...]) -> list[tuple[int, float, str]]:
        return [parameter.rank(value) for parameter, value in zip(parameters, values, strict=True)]

    configurations = []
    for number, values in enumerate(sorted(groups, key=rank), 1):
        label = ", ".join(f"{each.label}={value}" for each, value in zip(parameters, values, strict=True))
        of_seeds = sorted(groups[values], key=lambda run: (str(run.seed), run.source))
        configurations.append(Configuration(number, values, label or groups[values][0].name, tuple(of_seeds)))
    return tuple(configurations)


def _default_baseline(
    configurations: Sequence[Configuration], runs: Sequence[Run]
) -> tuple[Configuration | None, str]:
    finished = [each for each in configurations if each.finished]
    if not finished:
        return None, "no run has finished"
    # runs named one by one are compared with the first of them; a sweep has no first
    if len({run.sweep for run in runs}) > 1 or runs[0].sweep is None:
        first = next(run for run in runs if run.finished)
        return next(each for each in finished if first in each.runs), "the first run given"
    for configuration in finished if len(finished) > 1 else ():
        preset = configuration.finished[0].conditions.get("preset")
        if preset is not None:
            return configuration, f"its network is the unchanged preset {preset}"
    return finished[0], "the first of the table"


def _named(
    wanted: str, configurations: Sequence[Configuration], parameters: Sequence[Parameter]
) -> Configuration:
    found = [each for each in configurations if _is_named(wanted, each, parameters)]
    known = "; ".join(f"{each.number}: {each.label}" for each in configurations)
    if len(found) != 1:
        raise ValueError(
            f"baseline {wanted!r} names {len(found)} configurations instead of one; there are {known}"
        )
    if not found[0].finished:
        raise ValueError(f"baseline {wanted!r} has no scores, {found[0].states}; choose another of {known}")
    return found[0]


def _is_named(wanted: str, configuration: Configuration, parameters: Sequence[Parameter]) -> bool:
    names = {str(configuration.number), configuration.label}
    names |= {name for run in configuration.runs for name in (run.name, run.source)}
    if names & {wanted, wanted.rstrip("/")}:
        return True
    given = list(zip(parameters, configuration.values, strict=True))
    known = {f"{name}={value}" for parameter, value in given for name in (parameter.key, parameter.label)}
    # commas within brackets belong to a value
    return known.issuperset(word.strip() for word in re.split(r",(?![^\[]*\])", wanted))


@dataclass(frozen=True)
class ImageDifference:
    """PSNR in dB of one image under two configurations, means over seeds.

    ``difference`` is the gain of the second; 0 if both are equal, also if both are exact (infinite).
    """

    image: str
    first: float
    second: float
    difference: float


@dataclass(frozen=True)
class PairComparison:
    """Two configurations: (key, value of each) of what is different, and images, the largest gain first.

    The second wins where it restores an image better. ``mean_difference`` is in dB; None without images, or
    if both infinities are among the differences.
    """

    first: Configuration
    second: Configuration
    differing: tuple[tuple[str, str, str], ...]
    images: tuple[ImageDifference, ...]
    wins: int
    losses: int
    mean_difference: float | None


def compare_images(first: Configuration, second: Configuration) -> PairComparison:
    """Of the images that both were scored on."""
    before, after = _image_psnr(first), _image_psnr(second)
    images = [
        ImageDifference(key, old, after[key], gap(after[key], old))
        for key, old in before.items()
        if key in after
    ]
    images.sort(key=lambda each: (-each.difference, each.image))
    differences = [each.difference for each in images]
    has_mean = differences and not {math.inf, -math.inf} <= set(differences)
    return PairComparison(
        first=first,
        second=second,
        differing=tuple(differing_keys(first.runs[0], second.runs[0])),
        images=tuple(images),
        wins=sum(each > 0 for each in differences),
        losses=sum(each < 0 for each in differences),
        mean_difference=fmean(differences) if has_mean else None,
    )


def compare_with_baseline(comparison: Comparison) -> list[PairComparison]:
    """Every other configuration that finished, the best first; if there is none, the first two seeds."""
    baseline = comparison.baseline
    if baseline is None:
        return []
    others = [each for each in comparison.finished if each is not baseline]
    if not others and len(baseline.finished) > 1:
        runs = baseline.finished[:2]
        first, second = (Configuration(baseline.number, baseline.values, run.name, (run,)) for run in runs)
        return [compare_images(first, second)]
    others.sort(key=lambda each: -fmean(run.psnr for run in each.finished))
    return [compare_images(baseline, each) for each in others]


def _image_psnr(configuration: Configuration) -> dict[str, float]:
    values = defaultdict(list)
    for run in configuration.finished:
        for key, psnr in run.image_psnr.items():
            values[key].append(psnr)
    return {name: fmean(each) for name, each in values.items()}
