"""Which parameters a set of runs varies, and what each run has for them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from srlab.extensions.report.configuration_files import shown_value
from srlab.extensions.report.gray_rules import is_gray_rule
from srlab.extensions.report.runs import Run

__all__ = ["ABSENT", "Parameter", "differing_keys", "parameter_values", "varied_parameters"]

ABSENT = "–"
SEED = "seed"
NETWORK = "model"

# What a run is carried out with, which changes neither its samples nor its arithmetic, or what is warned of.
_CIRCUMSTANCES = (
    SEED, "paths", "logger", "hydra", "resume", "saved_images", "latency", "callbacks.progress",
    "data.cache", "data.num_workers", "data.root", "data.validation_root", "data.degrade_on",
    "threads", "trainer.devices", "trainer.num_nodes", "trainer.accelerator", "trainer.strategy",
    "trainer.log_every_n_steps",
)  # fmt: skip
# Last parts of keys that say little without their group.
_NAMED_BY_GROUP = frozenset({"_target_", "pattern", "name"})


@dataclass(frozen=True)
class Parameter:
    """One thing that the runs differ in.

    Attributes:
        key: of the configuration or of the command line.
        label: short, unique among the parameters of a report.
        swept: whether a sweep varies it on purpose.
        order: values in the sweep's order.
    """

    key: str
    label: str
    swept: bool
    order: tuple[str, ...] = ()

    def rank(self, value: str) -> tuple[int, float, str]:
        """Sorts values: as the sweep has them, then numbers, then words."""
        if value in self.order:
            return 0, self.order.index(value), ""
        try:
            return 1, float(value), ""
        except ValueError:
            return 2, 0.0, value


def varied_parameters(runs: Sequence[Run]) -> tuple[Parameter, ...]:
    """What one sweep sets, or else the keys in which the configurations differ; never the seed.

    ``model`` stands first where the networks differ, and for every argument that follows from it.
    """
    is_sweep = len({run.sweep for run in runs}) == 1 and all(run.swept for run in runs)
    keys = _swept_keys(runs) if is_sweep else _configured_keys(runs)
    labels = _labels(keys)
    return tuple(
        Parameter(
            key=key,
            label=labels[key],
            swept=is_sweep,
            order=next((run.sweep_order[key] for run in runs if key in run.sweep_order), ()),
        )
        for key in keys
    )


def parameter_values(run: Run, parameters: Sequence[Parameter]) -> tuple[str, ...]:
    """As they are shown."""
    return tuple(_value_of(run, parameter.key, swept=parameter.swept) for parameter in parameters)


def differing_keys(first: Run, second: Run) -> list[tuple[str, str, str]]:
    """(key, value of the first, value of the second), circumstances included, places and derived left out."""
    keys = [
        key for key in _ordered_keys([first, second]) if not _is_within(key, ("paths", "hydra", "logger"))
    ]
    pairs = ((key, _config_value(first, key), _config_value(second, key)) for key in keys)
    return [(key, one, other) for key, one, other in pairs if one != other]


def _swept_keys(runs: Sequence[Run]) -> list[str]:
    ordered = dict.fromkeys(key for run in runs for key in (*run.sweep_order, *run.swept))
    return [key for key in ordered if key != SEED and len({run.swept.get(key) for run in runs}) > 1]


def _configured_keys(runs: Sequence[Run]) -> list[str]:
    known = [run for run in runs if run.config]
    varied = [
        key
        for key in _ordered_keys(known)
        if not _is_within(key, _CIRCUMSTANCES)
        and not is_gray_rule(key)  # where it matters, runs under one rule alone have scores
        and len({_config_value(run, key) for run in known}) > 1
    ]
    if len({run.network for run in known}) < 2:
        return varied
    return [NETWORK, *(key for key in varied if not _follows_from_network(key, known))]


def _follows_from_network(key: str, runs: Sequence[Run]) -> bool:
    if not key.startswith(f"{NETWORK}."):
        return False
    return len({(run.network, _config_value(run, key)) for run in runs}) == len({run.network for run in runs})


def _ordered_keys(runs: Sequence[Run]) -> Iterator[str]:
    """Keys that at least one run sets itself rather than computing them from others."""
    for key in dict.fromkeys(key for run in runs for key in run.config):
        if any(key in run.config and key not in run.derived for run in runs):
            yield key


def _is_within(key: str, groups: Sequence[str]) -> bool:
    return any(key == group or key.startswith(f"{group}.") for group in groups)


def _value_of(run: Run, key: str, *, swept: bool) -> str:
    if swept:
        return run.swept.get(key, ABSENT)
    if key == NETWORK:
        return run.network or ABSENT
    return _config_value(run, key)


def _config_value(run: Run, key: str) -> str:
    if key not in run.config:
        return ABSENT
    value: Any = run.config[key]
    if key.endswith("._target_"):
        return str(value).rpartition(".")[-1]
    return shown_value(value)


def _labels(keys: Sequence[str]) -> Mapping[str, str]:
    """The last part of each key, or all of it where two share that."""
    short = {key: _short(key) for key in keys}
    labels = list(short.values())
    return {key: label if labels.count(label) == 1 else key for key, label in short.items()}


def _short(key: str) -> str:
    group, _, last = key.rpartition(".")
    return group.rpartition(".")[-1] if group and last in _NAMED_BY_GROUP else last
