"""The record of a run of the lab, as it is written and read again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srlab.extensions.lab.latency import Spread
from srlab.extensions.lab.subjects import Skipped

#: Identifies a file as a record of the lab.
KIND = "srlab profile"


@dataclass(frozen=True, kw_only=True)
class LabSettings:
    """What was asked for, the same for all sizes.

    Attributes:
        step: ``inference`` or ``training``.
        scale: of all networks.
        batch: images of one pass or step.
        warmup: rounds that are dropped.
        repeats: rounds that count.
        baseline: label of the subject that speed-ups refer to.
    """

    step: str
    scale: int
    batch: int
    warmup: int
    repeats: int
    baseline: str


@dataclass(frozen=True, kw_only=True)
class LabRecord:
    """Of one command.

    Attributes:
        complete: False after Ctrl-C.
        conditions: see :func:`srlab.extensions.lab.conditions.describe_machine`.
        matrix_gflop_per_s: of one large matrix product, by dtype; for inference alone.
        sizes: for each size its subjects' figures, see :mod:`srlab.extensions.lab.running`.
        loading: samples per second by number of loader processes, with ``--data`` alone.
    """

    complete: bool
    conditions: Mapping[str, Any]
    settings: LabSettings
    matrix_gflop_per_s: Mapping[str, float]
    sizes: Sequence[Mapping[str, Any]]
    skipped: Sequence[Skipped]
    notes: Sequence[str]
    loading: Mapping[int, Spread] | None = None
    kind: str = KIND


def read_record(path: Path) -> dict[str, Any]:
    """A record that this version or an earlier one has written.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is not a record of the lab.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ValueError(f"{path} is not a record of srlab profile: it has no kind {KIND!r}")
    return content
