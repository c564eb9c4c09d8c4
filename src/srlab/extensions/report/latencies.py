"""Latencies of a report: each run's own, or of all networks side by side in one run of the latency lab."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srlab.extensions.lab.conditions import busy_warning
from srlab.extensions.lab.record import read_record
from srlab.extensions.report.runs import Run

#: Entry of a record that holds the constructor arguments of each subject's network.
NETWORKS = "networks"
# Arguments that only matter in training.
_TRAINING_ONLY = frozenset({"_convert_", "drop_path"})
_MEASURE = "srlab report --measure measures all networks in one interleaved run"
_CAPTION = "Latency (median, 10th to 90th percentile) and peak memory of one {} image{} on {}: {}."


@dataclass(frozen=True, kw_only=True)
class LabLatencies:
    """One interleaved run of the lab, from its record.

    Attributes:
        facts: conditions by name, in words.
        caption: what was measured and how, for a table.
        figures: as recorded, by network; those that were not timed are missing.
        reasons: why a network has no figures, by network.
    """

    facts: Mapping[str, str]
    caption: str
    warnings: tuple[str, ...]
    figures: Mapping[str, Mapping[str, Any]]
    reasons: Mapping[str, str]

    def of(self, runs: Sequence[Run]) -> Mapping[str, Any] | None:
        """Figures of the network that these runs share; None if it was not timed."""
        return self.figures.get(_key(network_arguments(runs)))


def network_arguments(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Class and constructor arguments of the network that runs of one configuration share.

    Arguments that only matter in training are left out, so that the same network has the same arguments; None
    if no run has a configuration.
    """
    for run in runs:
        model = {key[len("model.") :]: value for key, value in run.config.items() if key.startswith("model.")}
        if "_target_" in model:
            return {name: value for name, value in model.items() if name not in _TRAINING_ONLY}
    return None


def read_latencies(path: Path) -> LabLatencies:
    """The record that ``srlab report --measure`` wrote.

    Raises:
        OSError: it cannot be read.
        ValueError: not a record of the lab, or one without the arguments of its networks.
    """
    content = read_record(path)
    if NETWORKS not in content:
        raise ValueError(
            f"{path} was written by srlab profile, which does not record the arguments of its networks: they "
            "cannot be matched with runs; use the latency.json that srlab report --measure writes"
        )
    try:
        return _latencies(path, content)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{path} is a record of another version: {error!r}; measure again") from error


def _latencies(path: Path, content: Mapping[str, Any]) -> LabLatencies:
    settings, conditions = content["settings"], content["conditions"]
    if len(content["sizes"]) != 1 or settings["step"] != "inference":
        raise ValueError(f"{path}: a report shows the latency of one image size; the record has others")
    (size,) = content["sizes"]
    lr_image, image = (width_by_height(size[name]) for name in ("lr_size", "output_size"))
    precision = "{dtype}, {compile}".format(**size["subjects"][0])
    threads = f", {conditions['threads']} threads" if conditions["device"] == "cpu" else ""
    facts = {
        "record": str(path),
        "command": conditions["command"],
        "device": f"{conditions['device_name']}{threads}",
        "image": f"{lr_image} restored to {image}, {precision}",
        "rounds": f"{settings['repeats']}, in each of which every network runs once",
        "date": conditions["date"],
        "commit": conditions["commit"] or "unknown",
        "versions": f"torch {conditions['torch_version']}, srlab {conditions['srlab_version']}",
    }
    how = (
        f"all networks in one interleaved run of {settings['repeats']} rounds, {facts['date'][:10]}; memory "
        "beyond weights and input"
    )
    interrupted = "the measurement was interrupted; only finished rounds count"
    warnings = (None if content["complete"] else interrupted, busy_warning(conditions))
    keys = {label: _key(arguments) for label, arguments in content[NETWORKS].items()}
    reasons = dict.fromkeys(keys.values(), "no round was finished")
    reasons |= {keys[each["subject"]]: each["reason"] for each in (*content["skipped"], *size["failed"])}
    return LabLatencies(
        facts=facts,
        caption=_CAPTION.format(image, f", {precision},", facts["device"], how),
        warnings=tuple(filter(None, warnings)),
        figures={keys[each["label"]]: each for each in size["subjects"] if each["time_ms"] is not None},
        reasons=reasons,
    )


def latency_source(latencies: LabLatencies | None) -> str:
    """In a few words, for an axis."""
    return "each run's own measurement" if latencies is None else "one interleaved run"


def latency_caption(runs: Sequence[Run], latencies: LabLatencies | None) -> str:
    """Which latency and memory a table shows, for its caption; empty if no run measured any."""
    if latencies is not None:
        return latencies.caption
    devices = sorted({run.costs.device for run in runs if run.costs.device})
    sizes = sorted({run.costs.output_size for run in runs if run.costs.output_size})
    shown = " and ".join(map(width_by_height, sizes)) or "unknown size"
    own = "each run's own measurement after its training, not comparable if made side by side"
    return _CAPTION.format(shown, "", ", ".join(devices), own) if devices else ""


def latency_warnings(
    runs: Sequence[Run], rows: Mapping[int, Sequence[Run]], latencies: LabLatencies | None
) -> Iterator[str]:
    """What forbids to compare latencies; ``rows`` are all runs by the number of their row."""
    if latencies is None:
        yield from _warnings_of_own([run for run in runs if run.costs.latency_ms is not None])
        return
    yield from (f"latencies: {warning}" for warning in latencies.warnings)
    missing: dict[str, list[str]] = defaultdict(list)
    for number, row in rows.items():
        arguments = network_arguments(row)
        if arguments is None:
            missing["no run left a configuration to build the network from"].append(str(number))
        elif latencies.of(row) is None:
            reason = latencies.reasons.get(_key(arguments), "the record has no such network")
            missing[reason].append(str(number))
    for reason, numbers in missing.items():
        yield f"no latency of row {', '.join(numbers)} ({latencies.facts['record']}): {reason}"


def width_by_height(size: Sequence[int]) -> str:
    """A size (height, width) as papers write it: ``1280x720``."""
    return f"{size[1]}x{size[0]}"


def _warnings_of_own(timed: Sequence[Run]) -> Iterator[str]:
    launchers = {run.sweep: run.launcher for run in timed if run.launcher not in (None, "basic")}
    for sweep, launcher in launchers.items():
        fault = f"the launcher {launcher} runs several cells at once"
        yield f"latencies of {Path(str(sweep)).name} are not comparable: {fault}; {_MEASURE}"
    busy = [run.name for run in timed if run.costs.is_busy]
    if busy:
        yield f"timed while other programs needed the same cores: {', '.join(busy)}; {_MEASURE}"


def _key(arguments: Mapping[str, Any] | None) -> str:
    """The same for the same network, in whatever order its arguments are."""
    return json.dumps(arguments, sort_keys=True, default=str)
