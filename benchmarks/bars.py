"""Check what ELAN-light must reach on a GPU against records of ``srlab profile``.

python benchmarks/bars.py docs/results/gpu-*.json

A bar must hold at every size and batch that records have, in one record of each. All are held against
elan_light/reference/float32/eager of the same interleaved run, without recomputation. Exit status 1: a bar
does not hold, or no record can tell.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from srlab.profiling.lab.record import read_record

MODEL = "elan_light"
OURS = "fused"
REFERENCE = "reference"

SPEED_ANY_PRECISION = 8.0
SPEED_EQUAL_PRECISION = 3.0
MEMORY_16_BIT = 1 / 4
MEMORY_EQUAL_PRECISION = 1 / 2
TRAINING_SPEED = 3.0
TRAINING_MEMORY = 1 / 3

#: What must be found at least: (step, scale).
REQUIRED = (("inference", 2), ("inference", 4), ("training", 2))

Figures = Mapping[str, Any]


class Check(NamedTuple):
    """One bar at one size; ``measured`` is None where the record lacks what it takes."""

    where: str
    claim: str
    measured: float | None
    holds: bool


def check_record(record: Mapping[str, Any]) -> Iterator[Check]:
    """All bars that a record is about, at each of its sizes."""
    settings = record["settings"]
    check = _inference if settings["step"] == "inference" else _training
    for size in record["sizes"]:
        ours = [each for each in size["subjects"] if each["model"] == MODEL and each["time_ms"]]
        if not any(each["resolved_backend"] == OURS for each in ours):
            continue
        height, width = size["lr_size"]
        where = f"{settings['step']} x{settings['scale']}, LR {width}x{height}, batch {settings['batch']}"
        yield from check(where, ours)


def best_of(records: Iterable[Mapping[str, Any]]) -> list[Check]:
    """All checks; where several records are about the same, those of the one in which most hold."""
    groups: dict[str, list[Check]] = {}
    for record in records:
        found: dict[str, list[Check]] = {}
        for check in check_record(record):
            found.setdefault(check.where, []).append(check)
        for where, checks in found.items():
            if _held(checks) > _held(groups.get(where, ())) or where not in groups:
                groups[where] = checks
    return [check for checks in groups.values() for check in checks]


def _held(checks: Sequence[Check]) -> int:
    return sum(check.holds for check in checks)


def missing(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """What must be measured and is not."""
    found = {
        (record["settings"]["step"], record["settings"]["scale"])
        for record in records
        if any(True for _ in check_record(record))
    }
    return [
        f"no record of {MODEL} {OURS}: {step} x{scale}"
        for step, scale in REQUIRED
        if (step, scale) not in found
    ]


def _inference(where: str, subjects: Sequence[Figures]) -> Iterator[Check]:
    baseline = _reference(subjects, "float32")
    yield _at_least(
        where, "speed over float32 reference", _best_speed(subjects, baseline), SPEED_ANY_PRECISION
    )
    for dtype in dict.fromkeys(each["dtype"] for each in subjects):
        same = [each for each in subjects if each["dtype"] == dtype]
        speed = _best_speed(same, _reference(subjects, dtype))
        yield _at_least(where, f"speed at equal precision, {dtype}", speed, SPEED_EQUAL_PRECISION)
    halves = [each for each in subjects if each["dtype"] in ("bfloat16", "float16")]
    shares = _memory(halves, baseline)
    yield _at_most(where, "memory in 16 bit over float32 reference", shares, MEMORY_16_BIT)
    same = [each for each in subjects if each["dtype"] == "float32"]
    shares = _memory(same, baseline)
    yield _at_most(where, "memory at equal precision, float32", shares, MEMORY_EQUAL_PRECISION)


def _training(where: str, subjects: Sequence[Figures]) -> Iterator[Check]:
    """One setting must reach both: the fastest of those that fit is named by its figures."""
    baseline = _reference(subjects, "float32")
    speeds = {each["label"]: _speed(each, baseline) for each in _ours(subjects)}
    shares = {each["label"]: _memory([each], baseline) for each in _ours(subjects)}
    small = [name for name, share in shares.items() if share is not None and share <= TRAINING_MEMORY]
    known = [name for name in small or speeds if speeds[name] is not None]
    best = max(known, key=lambda name: speeds[name] or 0.0, default=None)
    setting = f" ({best})" if best else ""
    speed, share = (speeds[best], shares[best]) if best else (None, None)
    yield _at_least(where, f"speed of a step{setting}", speed, TRAINING_SPEED)
    yield _at_most(where, f"memory of a step{setting}", share, TRAINING_MEMORY)


def _ours(subjects: Sequence[Figures]) -> list[Figures]:
    return [each for each in subjects if each["resolved_backend"] == OURS]


def _reference(subjects: Sequence[Figures], dtype: str) -> Figures | None:
    for each in subjects:
        is_plain = each["compile"] == "eager" and not each["checkpointing"] and each["mask"] == "cached"
        if each["resolved_backend"] == REFERENCE and each["dtype"] == dtype and is_plain:
            return each
    return None


def _speed(subject: Figures, baseline: Figures | None) -> float | None:
    return None if baseline is None else baseline["time_ms"]["median"] / subject["time_ms"]["median"]


def _best_speed(subjects: Sequence[Figures], baseline: Figures | None) -> float | None:
    speeds = [_speed(each, baseline) for each in _ours(subjects)]
    return max((speed for speed in speeds if speed is not None), default=None)


def _memory(subjects: Sequence[Figures], baseline: Figures | None) -> float | None:
    """Largest share of the baseline's memory; graphs are left out, whose memory lies in pools."""
    if baseline is None:
        return None
    measured = [_peak_mib(each) for each in _ours(subjects) if each["compile"] != "graph"]
    whole = _peak_mib(baseline)
    shares = [peak / whole for peak in measured if peak is not None and whole]
    return max(shares, default=None)


def _peak_mib(subject: Figures) -> float | None:
    memory = subject["memory"]
    return memory["allocated_mib"] if memory["allocated_mib"] is not None else memory["live_mib"]


def _at_least(where: str, claim: str, measured: float | None, bar: float) -> Check:
    holds = measured is not None and measured >= bar
    return Check(where, f"{claim} >= {bar:.3g}", measured, holds)


def _at_most(where: str, claim: str, measured: float | None, bar: float) -> Check:
    holds = measured is not None and measured <= bar
    return Check(where, f"{claim} <= {bar:.3g}", measured, holds)


def main() -> int:
    """Print a line for each bar, then all of it as JSON; the status says whether all hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", type=Path, nargs="+")
    records = [read_record(path) for path in parser.parse_args().records]
    checks = best_of(records)
    absent = missing(records)
    for check in checks:
        figure = "not measured" if check.measured is None else f"{check.measured:.3g}"
        print(f"{'pass' if check.holds else 'FAIL'}  {check.where}: {check.claim}: {figure}")
    for line in absent:
        print(f"FAIL  {line}")
    print(json.dumps({"bars": [check._asdict() for check in checks], "missing": absent}))
    return int(bool(absent) or not all(check.holds for check in checks))


if __name__ == "__main__":
    raise SystemExit(main())
