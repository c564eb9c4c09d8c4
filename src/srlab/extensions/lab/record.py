"""The record of a run of the lab: every figure with its conditions, as it is written and read again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from srlab.atomic_files import atomic_write
from srlab.extensions.lab.conditions import LabConditions
from srlab.extensions.lab.latency import Spread
from srlab.extensions.lab.session import Memory
from srlab.extensions.lab.subjects import Skipped

__all__ = ["KIND", "Figures", "LabRecord", "LabSettings", "SizeRun", "read_record", "write_record"]

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
class Figures:
    """Measurements of one subject at one size; None where something is not measured or not defined.

    Attributes:
        label: of the subject, as ``--baseline`` takes it.
        model, backend, dtype, compile, mask, checkpointing, subnormals: see :class:`Subject`.
        resolved_backend: the back end that ran, where ``backend`` is ``auto``.
        padded_size: height and width of the LR image inside the network.
        rounds: passes timed.
        time_ms: of one pass or step of the batch.
        speedup: the baseline's time over this one's in the same round.
        images_per_second, megapixels_per_second: at the median time; pixels are of the output.
        memory: peak beyond input and weights.
        multiply_adds: executed for one image, padding included.
        multiply_adds_of: the back end whose arithmetic was counted; None for no choice.
        gflop_per_second: two operations for each multiply-add, at the median time.
        share_of_matrix_rate: that over the measured rate of a large matrix product in the same dtype.
    """

    label: str
    model: str
    backend: str | None
    resolved_backend: str | None
    dtype: str
    compile: str
    mask: str
    checkpointing: bool
    subnormals: str
    padded_size: tuple[int, int]
    rounds: int
    time_ms: Spread | None
    speedup: Spread | None
    images_per_second: float | None
    megapixels_per_second: float | None
    memory: Memory
    multiply_adds: int | None
    multiply_adds_of: str | None
    gflop_per_second: float | None
    share_of_matrix_rate: float | None


@dataclass(frozen=True, kw_only=True)
class SizeRun:
    """One interleaved run: heights and widths, subjects, and those that failed."""

    lr_size: tuple[int, int]
    output_size: tuple[int, int]
    subjects: tuple[Figures, ...]
    failed: tuple[Skipped, ...]


@dataclass(frozen=True, kw_only=True)
class LabRecord:
    """Of one command.

    Attributes:
        complete: False after Ctrl-C.
        matrix_gflop_per_s: of one large matrix product, by dtype; for inference alone.
        loading: samples per second by number of loader processes, with ``--data`` alone.
    """

    complete: bool
    conditions: LabConditions
    settings: LabSettings
    matrix_gflop_per_s: Mapping[str, float]
    sizes: tuple[SizeRun, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    loading: Mapping[int, Spread] | None = None
    kind: str = KIND

    def as_json(self) -> dict[str, Any]:
        """What :func:`read_record` returns after :func:`write_record`: plain values alone."""
        return json.loads(json.dumps(asdict(self), allow_nan=False))


def write_record(record: LabRecord, path: Path) -> None:
    """Write indented JSON; a file is replaced as a whole or not at all."""
    text = json.dumps(record.as_json(), indent=1) + "\n"
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_record(path: Path) -> dict[str, Any]:
    """What :func:`write_record` wrote, in this version or an earlier one.

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
