"""Latencies of a report: each run's own, or of all networks side by side in one run of the latency lab."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlab.extensions.report.runs import Run

if TYPE_CHECKING:
    from srlab.extensions.report.comparison import Configuration

__all__ = [
    "NETWORKS",
    "LabFigures",
    "LabLatencies",
    "latency_caption",
    "latency_source",
    "latency_warnings",
    "network_arguments",
    "read_latencies",
]

#: Entry of a record that tells how each subject's network is built.
NETWORKS = "networks"
_PREFIX = "model."
# Arguments that only training knows.
_TRAINING_ONLY = frozenset({"_convert_", "drop_path"})
_MEASURE = "srlab report --measure measures all networks in one interleaved run"


@dataclass(frozen=True)
class LabFigures:
    """Of one network: milliseconds of a pass (median, 10th and 90th percentile of the rounds), peak MiB."""

    median_ms: float
    p10_ms: float
    p90_ms: float
    rounds: int
    memory_mib: float | None
    backend: str | None


@dataclass(frozen=True, kw_only=True)
class LabLatencies:
    """One interleaved run of the lab, as its record has it.

    Attributes:
        path: of the record.
        device: the product's name.
        threads: of the CPU; None on another device.
        precision: dtype and how the networks ran: ``float32, eager``.
        lr_size: height and width.
        output_size: likewise.
        rounds: asked for.
        date: when it began, ISO.
        warnings: what the lab found fault with.
        figures: by network.
        reasons: why a network has no figures, likewise.
    """

    path: str
    device: str
    threads: int | None
    precision: str
    lr_size: tuple[int, int]
    output_size: tuple[int, int]
    rounds: int
    date: str
    commit: str | None
    versions: str
    command: str
    warnings: tuple[str, ...]
    figures: Mapping[str, LabFigures]
    reasons: Mapping[str, str]

    def of(self, runs: Sequence[Run]) -> LabFigures | None:
        """Of the network that these runs share; None where it was not measured."""
        arguments = network_arguments(runs)
        return None if arguments is None else self.figures.get(_key(arguments))

    def why_not(self, runs: Sequence[Run]) -> str:
        """What to say where :meth:`of` has nothing."""
        arguments = network_arguments(runs)
        if arguments is None:
            return "no run left a configuration to build the network from"
        return self.reasons.get(_key(arguments), "another network than any of the record")

    @property
    def place(self) -> str:
        """``AMD EPYC, 2 threads``."""
        if self.threads is None:
            return self.device
        return f"{self.device}, {self.threads} thread{'' if self.threads == 1 else 's'}"

    def facts(self) -> list[tuple[str, str]]:
        """Everything that a reader may ask, as name and value."""
        return [
            ("record", self.path),
            ("with", self.command),
            ("device", self.place),
            ("image", f"{_side(self.lr_size)} restored to {_side(self.output_size)}, {self.precision}"),
            ("rounds", f"{self.rounds}, in each of which every network runs once"),
            ("date", self.date),
            ("commit", self.commit or "unknown"),
            ("versions", self.versions),
        ]


def network_arguments(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Class and constructor arguments of the network that runs of one configuration share.

    What only training knows is left out, so that configurations with the same network have the same; None
    if no run has a configuration.
    """
    for run in runs:
        arguments = {
            key.removeprefix(_PREFIX): value for key, value in run.config.items() if key.startswith(_PREFIX)
        }
        if "_target_" in arguments:
            return {name: value for name, value in arguments.items() if name not in _TRAINING_ONLY}
    return None


def read_latencies(path: Path) -> LabLatencies:
    """What ``srlab report --measure`` left.

    Raises:
        OSError: it cannot be read.
        ValueError: no record of the lab, or one that does not tell whose latencies these are.
    """
    from srlab.extensions.lab.record import read_record

    content = read_record(path)
    if NETWORKS not in content:
        raise ValueError(
            f"{path} is of srlab profile, which does not write down how its networks are built, so that they "
            "cannot be told apart from a run's; srlab report --measure writes latency.json, which does"
        )
    try:
        return _latencies(path, content)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{path} is a record of another version: {error!r}; measure again") from error


def latency_source(latencies: LabLatencies | None) -> str:
    """In a few words, for an axis."""
    return "each run's own measurement" if latencies is None else "one interleaved run"


def latency_caption(runs: Sequence[Run], latencies: LabLatencies | None) -> str:
    """Which latency and memory a table shows, for its caption; empty where no run measured any."""
    what = "Latency (median, 10th to 90th percentile) and peak memory of one"
    if latencies is not None:
        return (
            f"{what} {_side(latencies.output_size)} image, {latencies.precision}, on {latencies.place}: all "
            f"networks in one interleaved run of {latencies.rounds} rounds, {latencies.date[:10]}; memory "
            "beyond weights and input."
        )
    devices = sorted({run.costs.device for run in runs if run.costs.device})
    sizes = sorted({run.costs.output_size for run in runs if run.costs.output_size})
    if not devices:
        return ""
    shown = " and ".join(map(_side, sizes)) or "unknown size"
    return (
        f"{what} {shown} image on {', '.join(devices)}: each run's own measurement before its first step, "
        "not comparable where runs went on side by side."
    )


def latency_warnings(
    runs: Sequence[Run], configurations: "Sequence[Configuration]", latencies: LabLatencies | None
) -> list[str]:
    """What a reader must know before comparing latencies: one sentence for each fault."""
    if latencies is None:
        return [*_disturbed(runs), *_unlike(runs)]
    missing: dict[str, list[str]] = defaultdict(list)
    for each in configurations:
        if latencies.of(each.runs) is None:
            missing[latencies.why_not(each.runs)].append(str(each.number))
    absent = [
        f"no latency of row{'s' if len(rows) > 1 else ''} {', '.join(rows)} ({latencies.path}): {reason}"
        for reason, rows in missing.items()
    ]
    return [*(f"latencies: {warning}" for warning in latencies.warnings), *absent]


def _disturbed(runs: Sequence[Run]) -> Iterator[str]:
    """Sweeps whose cells measured while others were at work, by when they ran or else by their launcher."""
    sweeps: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.sweep is not None and run.costs.latency_ms is not None:
            sweeps[run.sweep].append(run)
    for sweep, cells in sweeps.items():
        at_once, launcher = _most_at_once(cells), cells[0].launcher
        if at_once > 1:
            found = f"up to {at_once} cells ran at once, and measured while the others were at work"
        elif launcher not in (None, "basic") and not all(map(_has_all_times, cells)):
            found = f"the launcher {launcher} runs several cells at once"
        else:
            continue
        yield f"latencies of {Path(sweep).name} are not comparable: {found}; {_MEASURE}"


def _unlike(runs: Sequence[Run]) -> Iterator[str]:
    """Conditions under which one network's time differs several times over."""
    timed = [run for run in runs if run.costs.latency_ms is not None]
    busy = [run.name for run in timed if run.costs.is_busy]
    if busy:
        yield f"timed while other programs needed the same cores: {', '.join(busy)}; {_MEASURE}"
    kept = [run.name for run in timed if run.costs.subnormals != "flushed"]
    if kept and len(kept) < len(timed):
        yield (
            "timed with subnormal numbers kept, unlike the others, which is several times slower on some "
            f"processors: {', '.join(kept)}; {_MEASURE}"
        )


def _most_at_once(runs: Sequence[Run]) -> int:
    """Attempts under way at the same time; one that was killed counts at its start, its end being unknown."""
    changes: list[tuple[str, int]] = []
    for run in runs:
        for place, (started, ended) in enumerate(run.attempt_times, 1):
            is_on = run.state == "running" and place == len(run.attempt_times)
            # "~" stands behind all that a date can hold: just after it started, or after everything
            changes += [(started, 1), (ended or ("~" if is_on else f"{started}~"), -1)]
    most = now = 0
    for _, change in sorted(changes):  # of one moment, what ends comes before what begins
        now += change
        most = max(most, now)
    return most


def _has_all_times(run: Run) -> bool:
    return bool(run.attempt_times) and all(ended for _, ended in run.attempt_times)


def _latencies(path: Path, content: Mapping[str, Any]) -> LabLatencies:
    conditions, settings = content["conditions"], content["settings"]
    if len(content["sizes"]) != 1 or settings["step"] != "inference":
        raise ValueError(f"{path}: a report shows the latency of one image size; the record has others")
    (size,) = content["sizes"]
    keys = {label: _key(arguments) for label, arguments in content[NETWORKS].items()}
    timed = {keys[each["label"]]: each for each in size["subjects"] if each["time_ms"] is not None}
    reasons = {keys[each["subject"]]: each["reason"] for each in (*content["skipped"], *size["failed"])}
    first = size["subjects"][0]
    return LabLatencies(
        path=str(path),
        device=conditions["device_name"],
        threads=conditions["threads"] if conditions["device"] == "cpu" else None,
        precision=f"{first['dtype']}, {first['compile']}",
        lr_size=(size["lr_size"][0], size["lr_size"][1]),
        output_size=(size["output_size"][0], size["output_size"][1]),
        rounds=settings["repeats"],
        date=conditions["date"],
        commit=conditions["commit"],
        versions=f"torch {conditions['torch_version']}, srlab {conditions['srlab_version']}",
        command=conditions["command"],
        warnings=tuple(_lab_warnings(content)),
        figures={key: _figures(each) for key, each in timed.items()},
        reasons={key: reasons.get(key, "no round was finished") for key in keys.values() if key not in timed},
    )


def _lab_warnings(content: Mapping[str, Any]) -> Iterator[str]:
    from srlab.extensions.lab.conditions import busy_warning

    if not content["complete"]:
        yield "the measurement was interrupted; these are of the rounds that were finished"
    busy = busy_warning(content["conditions"])
    if busy is not None:
        yield busy


def _figures(subject: Mapping[str, Any]) -> LabFigures:
    time, memory = subject["time_ms"], subject["memory"]
    on_gpu, on_cpu = memory["allocated_mib"], memory["live_mib"]
    return LabFigures(
        median_ms=time["median"],
        p10_ms=time["p10"],
        p90_ms=time["p90"],
        rounds=subject["rounds"],
        memory_mib=on_cpu if on_gpu is None else on_gpu,
        backend=subject["resolved_backend"],
    )


def _key(arguments: Mapping[str, Any]) -> str:
    """The same for the same network, however its arguments were ordered."""
    return json.dumps(arguments, sort_keys=True, default=str)


def _side(size: tuple[int, int]) -> str:
    """Width x height, as papers write."""
    return f"{size[1]}x{size[0]}"
