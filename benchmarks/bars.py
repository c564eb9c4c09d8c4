"""Check what ELAN-light and its rivals must reach against records of ``srlab profile``.

python benchmarks/bars.py docs/results/gpu-*.json

Records of a GPU hold ELAN-light, in inference and training, against its eager float32 reference; records of a
CPU hold it and other networks, x4 in float32, against references. A bar must hold at every size and batch
that records have. Each setting counts as in the newest complete record that has it together with its
reference; a newer record in which it failed takes it away. Speeds are the lab's median over rounds where the
record's baseline is that reference, else the ratio of both medians: each line says which. Exit status 1: a
bar does not hold, or no record can tell.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from srlab.extensions.lab.record import read_record

MODEL = "elan_light"
OURS = "fused"
REFERENCE = "reference"

SPEED_ANY_PRECISION = 8.0
SPEED_EQUAL_PRECISION = 3.0
MEMORY_16_BIT = 1 / 4
MEMORY_EQUAL_PRECISION = 1 / 2
TRAINING_SPEED = 3.0
TRAINING_MEMORY = 1 / 3

RIVAL = "swinir_light"
OTHERS = (RIVAL, "esc", "hit_srf")
CPU_SPEED = 3.0
CPU_SPEED_OF_OTHERS = 1.5
CPU_SPEED_OVER_RIVAL = 4.5
CPU_MEMORY = 1 / 3
CPU_SCALE = 4
CPU_THREADS = 2

#: What must be found at least on a GPU, (step, scale), and on a CPU, (height, width) of the LR image.
REQUIRED = (("inference", 2), ("inference", 4), ("training", 2))
CPU_REQUIRED = ((180, 320), (128, 128))

Figures = Mapping[str, Any]
Record = Mapping[str, Any]


class Check(NamedTuple):
    """One bar at one size; ``measured`` is None where no record has what it takes."""

    where: str
    claim: str
    measured: float | None
    holds: bool
    figures: str


class Ratio(NamedTuple):
    """One setting against its reference in the same run; ``memory`` is None for graphs, which have pools."""

    label: str
    dtype: str
    speed: float
    memory: float | None
    times: str
    peaks: str


class Run(NamedTuple):
    """One size of one record."""

    record: Record
    size: Mapping[str, Any]

    @property
    def on_cpu(self) -> bool:
        """Not on a GPU."""
        return _on_cpu(self.record)

    @property
    def date(self) -> datetime:
        """When the record was begun."""
        return datetime.fromisoformat(self.record["conditions"]["date"])

    @property
    def where(self) -> str:
        """Device and work: what two runs must share to be about the same."""
        conditions, settings = self.record["conditions"], self.record["settings"]
        device = f"CPU, {conditions['threads']} threads" if self.on_cpu else conditions["device_name"]
        height, width = self.size["lr_size"]
        work = f"{settings['step']} x{settings['scale']}, LR {width}x{height}, batch {settings['batch']}"
        return f"{device}, {work}"

    @property
    def timed(self) -> list[Figures]:
        """Subjects of which a round was finished."""
        return [each for each in self.size["subjects"] if each["time_ms"]]

    def failed(self, label: str) -> bool:
        """Whether it was tried in vain."""
        return any(each["subject"] == label for each in self.size["failed"])

    def reference(self, model: str, dtype: str) -> Figures | None:
        """The plain one: eager, masks cached, activations kept."""
        for each in self.timed:
            plain = each["compile"] == "eager" and not each["checkpointing"] and each["mask"] == "cached"
            if _is(each, model, dtype) and each["resolved_backend"] == REFERENCE and plain:
                return each
        return None

    def ratio(self, ours: Figures, reference: Figures) -> Ratio:
        """By rounds where the lab has that."""
        by_round = reference["label"] == self.record["settings"]["baseline"] and ours["speedup"]
        times = reference["time_ms"]["median"], ours["time_ms"]["median"]
        against = f"{ours['label']} against {reference['label']}"
        memory, peaks = None, ""
        whole, peak = _peak_mib(reference), _peak_mib(ours)
        if ours["compile"] != "graph" and peak is not None and whole:
            memory, peaks = peak / whole, f"{against}: {peak:.4g} and {whole:.4g} MiB"
        return Ratio(
            label=ours["label"],
            dtype=ours["dtype"],
            speed=ours["speedup"]["median"] if by_round else times[0] / times[1],
            memory=memory,
            times=f"{against}: {times[1]:.4g} and {times[0]:.4g} ms, "
            + ("median over rounds" if by_round else "ratio of medians"),
            peaks=peaks,
        )


def check_records(records: Iterable[Record]) -> list[Check]:
    """All bars at each place that usable records have."""
    return [check for runs in _places(records).values() for check in _checks(runs)]


def why_ignored(record: Record) -> str | None:
    """Why a record tells nothing; None for one that counts."""
    settings = record["settings"]
    if not record["complete"]:
        return "it is not complete"
    if _on_cpu(record) and (settings["step"], settings["scale"]) != ("inference", CPU_SCALE):
        return f"bars on a CPU are about inference x{CPU_SCALE}"
    subjects = [each for size in record["sizes"] for each in size["subjects"]]
    if not any(each["resolved_backend"] == REFERENCE for each in subjects):
        return "it has no reference"
    return None


def missing(records: Sequence[Record]) -> list[str]:
    """What must be measured and is not, on each kind of device that records are of (a GPU without any)."""
    runs = [run for found in _places(records).values() for run in found if any(_ours(run))]
    settings = [run.record["settings"] for run in runs if not run.on_cpu]
    steps = {(each["step"], each["scale"]) for each in settings}
    sizes = {
        tuple(run.size["lr_size"])
        for run in runs
        if run.on_cpu and run.record["conditions"]["threads"] == CPU_THREADS
    }
    absent: list[str] = []
    if not records or not all(_on_cpu(record) for record in records):
        absent += [f"{step} x{scale}" for step, scale in REQUIRED if (step, scale) not in steps]
    if any(_on_cpu(record) for record in records):
        prefix = f"CPU, {CPU_THREADS} threads, inference x{CPU_SCALE}, LR"
        absent += [f"{prefix} {size[1]}x{size[0]}" for size in CPU_REQUIRED if size not in sizes]
    return [f"no record of {MODEL} {OURS}: {place}" for place in absent]


def _places(records: Iterable[Record]) -> dict[str, list[Run]]:
    """Runs about the same, the newest first, where our network is among them."""
    usable = [record for record in records if why_ignored(record) is None]
    places: dict[str, list[Run]] = {}
    for run in (Run(record, size) for record in usable for size in record["sizes"]):
        places.setdefault(run.where, []).append(run)
    newest_first = {
        where: sorted(runs, key=lambda run: run.date, reverse=True) for where, runs in places.items()
    }
    return {where: runs for where, runs in newest_first.items() if any(any(_ours(run)) for run in runs)}


def _checks(runs: Sequence[Run]) -> Iterator[Check]:
    if runs[0].on_cpu:
        return _cpu(runs)
    return (_inference if runs[0].record["settings"]["step"] == "inference" else _training)(runs)


def _inference(runs: Sequence[Run]) -> Iterator[Check]:
    where, ratios = runs[0].where, _ratios(runs, MODEL, against=(MODEL, "float32"))
    yield _fastest(where, "speed over float32 reference", ratios, SPEED_ANY_PRECISION)
    for dtype in sorted({each["dtype"] for run in runs for each in run.timed if _is(each, MODEL, None)}):
        same = _ratios(runs, MODEL, dtype, against=(MODEL, dtype))
        yield _fastest(where, f"speed at equal precision, {dtype}", same, SPEED_EQUAL_PRECISION)
    halves = [each for each in ratios if each.dtype in ("bfloat16", "float16")]
    yield _largest(where, "memory in 16 bit over float32 reference", halves, MEMORY_16_BIT)
    same = [each for each in ratios if each.dtype == "float32"]
    yield _largest(where, "memory at equal precision, float32", same, MEMORY_EQUAL_PRECISION)


def _training(runs: Sequence[Run]) -> Iterator[Check]:
    """One setting must reach both: the fastest of those that fit."""
    where, ratios = runs[0].where, _ratios(runs, MODEL, against=(MODEL, "float32"))
    small = [each for each in ratios if each.memory is not None and each.memory <= TRAINING_MEMORY]
    best = sorted(small or ratios, key=lambda each: each.speed)[-1:]
    yield _fastest(where, "speed of a step", best, TRAINING_SPEED)
    yield _largest(where, "memory of a step", best, TRAINING_MEMORY)


def _cpu(runs: Sequence[Run]) -> Iterator[Check]:
    where, ours = runs[0].where, _ratios(runs, MODEL, "float32", against=(MODEL, "float32"))
    yield _fastest(where, f"{MODEL} over its reference", ours, CPU_SPEED)
    for model in OTHERS:
        found = _ratios(runs, model, "float32", against=(model, "float32"))
        yield _fastest(where, f"{model}, fastest back end over its reference", found, CPU_SPEED_OF_OTHERS)
    over_rival = _ratios(runs, MODEL, "float32", against=(RIVAL, "float32"))
    yield _fastest(where, f"{MODEL} over {RIVAL}'s reference", over_rival, CPU_SPEED_OVER_RIVAL)
    yield _largest(where, f"{MODEL}, live memory over its reference's", ours, CPU_MEMORY)


def _ratios(
    runs: Sequence[Run], model: str, dtype: str | None = None, *, against: tuple[str, str]
) -> list[Ratio]:
    """Of each setting of a network, of our network the fused ones alone, in the newest run that can tell."""
    settings = dict.fromkeys(
        each["label"] for run in runs for each in run.timed if _is(each, model, dtype) and _competes(each)
    )
    found = (_newest(runs, label, against) for label in settings)
    return [each for each in found if each is not None]


def _newest(runs: Sequence[Run], label: str, against: tuple[str, str]) -> Ratio | None:
    for run in runs:
        if run.failed(label):
            return None
        ours = next((each for each in run.timed if each["label"] == label and _competes(each)), None)
        reference = run.reference(*against)
        if ours is not None and reference is not None:
            return run.ratio(ours, reference)
    return None


def _competes(subject: Figures) -> bool:
    backend = subject["resolved_backend"]
    return backend == OURS if subject["model"] == MODEL else backend != REFERENCE


def _ours(run: Run) -> Iterator[Figures]:
    return (each for each in run.timed if _is(each, MODEL, None) and _competes(each))


def _is(subject: Figures, model: str, dtype: str | None) -> bool:
    return subject["model"] == model and dtype in (None, subject["dtype"])


def _on_cpu(record: Record) -> bool:
    return record["conditions"]["device"] == "cpu"


def _peak_mib(subject: Figures) -> float | None:
    memory = subject["memory"]
    return memory["allocated_mib"] if memory["allocated_mib"] is not None else memory["live_mib"]


def _fastest(where: str, claim: str, ratios: Sequence[Ratio], bar: float) -> Check:
    best = max(ratios, key=lambda each: each.speed, default=None)
    claim = f"{claim} >= {bar:.3g}"
    if best is None:
        return Check(where, claim, None, False, "")
    return Check(where, claim, best.speed, best.speed >= bar, best.times)


def _largest(where: str, claim: str, ratios: Sequence[Ratio], bar: float) -> Check:
    """Memory: of all settings, the one that needs most counts."""
    known = [(each.memory, each.peaks) for each in ratios if each.memory is not None]
    share, peaks = max(known, default=(None, ""))
    return Check(where, f"{claim} <= {bar:.3g}", share, share is not None and share <= bar, peaks)


def main() -> int:
    """Print a line for each bar, then all of it as JSON; the status says whether all hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", type=Path, nargs="+")
    records = {str(path): read_record(path) for path in parser.parse_args().records}
    ignored = {path: reason for path, record in records.items() if (reason := why_ignored(record))}
    for path, reason in ignored.items():
        print(f"ignored  {path}: {reason}")
    checks, absent = check_records(records.values()), missing(list(records.values()))
    for check in checks:
        figure = "not measured" if check.measured is None else f"{check.measured:.3g} ({check.figures})"
        print(f"{'pass' if check.holds else 'FAIL'}  {check.where}: {check.claim}: {figure}")
    for line in absent:
        print(f"FAIL  {line}")
    print(json.dumps({"bars": [check._asdict() for check in checks], "missing": absent, "ignored": ignored}))
    return int(bool(absent) or not all(check.holds for check in checks))


if __name__ == "__main__":
    raise SystemExit(main())
