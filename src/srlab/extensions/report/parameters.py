"""Which parameters a set of runs varies, and each run's values of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from srlab.app.saved_config import PATH_KEYS
from srlab.extensions.report.runs import Run
from srlab.runs.contract import SCHEMA_KEY

_ABSENT = "–"
_SEED, _NETWORK = "seed", "model"
# Places and names; neither they nor what follows changes what a network learns.
_PLACES = ("paths", "hydra", "logger")
_CIRCUMSTANCES = (
    *_PLACES, *(key for key in PATH_KEYS if key.startswith("data.")), _SEED, "resume", "saved_images",
    "latency", "callbacks.progress", "data.num_workers", "data.degrade_on", "threads", "trainer.devices",
    "trainer.num_nodes", "trainer.accelerator", "trainer.strategy", "trainer.log_every_n_steps", SCHEMA_KEY,
)  # fmt: skip
# Last parts of keys that say little without their group.
_NAMED_BY_GROUP = frozenset({"_target_", "pattern", "name"})


@dataclass(frozen=True)
class Parameter:
    """A key that the runs differ in, and its unique short label; ``order`` holds the values of a sweep."""

    key: str
    label: str
    swept: bool
    order: tuple[str, ...] = ()

    def rank(self, value: str) -> tuple[int, float, str]:
        """Sort key: the sweep's order first, then numbers, then words."""
        if value in self.order:
            return 0, self.order.index(value), ""
        try:
            return 1, float(value), ""
        except ValueError:
            return 2, 0.0, value


def varied_parameters(runs: Sequence[Run]) -> tuple[Parameter, ...]:
    """The keys that one sweep sets, or else those in which the configurations differ; never the seed.

    ``model`` comes first where the networks differ, and stands for every argument that follows from it.
    """
    is_sweep = len({run.sweep for run in runs}) == 1 and all(run.swept for run in runs)
    keys = _swept_keys(runs) if is_sweep else _configured_keys(runs)
    labels = [_short(key) for key in keys]
    orders = {key: order for run in runs for key, order in run.sweep_order.items()}
    return tuple(
        Parameter(key, label if labels.count(label) == 1 else key, is_sweep, orders.get(key, ()))
        for key, label in zip(keys, labels, strict=True)
    )


def parameter_values(run: Run, parameters: Iterable[Parameter]) -> tuple[str, ...]:
    """As they are shown."""
    values = (run.swept.get(p.key, _ABSENT) if p.swept else _config_value(run, p.key) for p in parameters)
    return tuple(values)


def differing_keys(first: Run, second: Run) -> list[tuple[str, str, str]]:
    """(key, value of the first, value of the second) of every difference but places and derived keys."""
    keys = [key for key in _independent_keys([first, second]) if not _is_within(key, _PLACES)]
    found = [(key, _config_value(first, key), _config_value(second, key)) for key in keys]
    return [each for each in found if each[1] != each[2]]


def shown_value(value: Any) -> str:
    """As it would be typed on a command line: lists without blanks, null, true."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(shown_value, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{shown_value(each)}" for key, each in value.items()) + "}"
    return str(value)


def _swept_keys(runs: Sequence[Run]) -> list[str]:
    ordered = dict.fromkeys(key for run in runs for key in (*run.sweep_order, *run.swept))
    return [key for key in ordered if key != _SEED and len({run.swept.get(key) for run in runs}) > 1]


def _configured_keys(runs: Sequence[Run]) -> list[str]:
    known = [run for run in runs if run.config]
    varied = []
    for key in _independent_keys(known):
        # scores of two gray rules are never compared, so the rule is not a parameter
        is_gray_rule = key.startswith("protocol.") and key.endswith(".gray")
        has_values = len({_config_value(run, key) for run in known}) > 1
        if has_values and not is_gray_rule and not _is_within(key, _CIRCUMSTANCES):
            varied.append(key)
    networks = len({run.network for run in known})
    if networks < 2:
        return varied

    def follows_from_network(key: str) -> bool:
        pairs = {(run.network, _config_value(run, key)) for run in known}
        return key.startswith(f"{_NETWORK}.") and len(pairs) == networks

    return [_NETWORK, *(key for key in varied if not follows_from_network(key))]


def _independent_keys(runs: Sequence[Run]) -> list[str]:
    """Keys that at least one run sets itself instead of computing them from others."""
    keys = dict.fromkeys(key for run in runs for key in run.config)
    return [key for key in keys if any(key in run.config and key not in run.derived for run in runs)]


def _is_within(key: str, groups: Iterable[str]) -> bool:
    return any(key == group or key.startswith(f"{group}.") for group in groups)


def _config_value(run: Run, key: str) -> str:
    if key == _NETWORK:
        return run.network or _ABSENT
    if key not in run.config:
        return _ABSENT
    value = run.config[key]
    return str(value).rpartition(".")[-1] if key.endswith("._target_") else shown_value(value)


def _short(key: str) -> str:
    group, _, last = key.rpartition(".")
    return group.rpartition(".")[-1] if group and last in _NAMED_BY_GROUP else last
