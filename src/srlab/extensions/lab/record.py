"""The record of a run of the lab: every figure with its conditions, as it is written and read again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from srlab.atomic_files import atomic_write
from srlab.extensions.lab.ceilings import Ceilings
from srlab.extensions.lab.conditions import LabConditions
from srlab.extensions.lab.latency import Spread
from srlab.extensions.lab.measurement import Memory
from srlab.extensions.lab.roofline import Roofline
from srlab.extensions.lab.subjects import Skipped

__all__ = ["KIND", "Figures", "LabRecord", "LabSettings", "SizeRun", "read_record", "write_record"]

#: What a record says that it is.
KIND = "srlab profile"


@dataclass(frozen=True, kw_only=True)
class LabSettings:
    """What was asked for, the same for all sizes.

    Attributes:
        step: ``inference`` or ``training``.
        scale: of all networks.
        batch: images of one pass or step.
        warmup: rounds that are not counted.
        repeats: rounds that are.
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
    """All that is known of one subject at one size; None where something is not measured or not defined.

    Attributes:
        label: as ``baseline=`` takes it.
        model: which network.
        backend: as asked for, ``auto`` perhaps; None for a network that has no choice.
        resolved_backend: what ran.
        dtype: of weights and activations.
        compile: ``eager``, a mode of torch.compile, or ``graph``.
        mask: ``cached`` or ``rebuilt``.
        checkpointing: whether activations were recomputed.
        subnormals: ``flushed`` or ``kept``.
        padded_size: height and width of the LR image inside the network.
        rounds: passes timed.
        time_ms: of one pass or step of the batch.
        speedup: the baseline's time over this one's in the same round.
        images_per_second: at the median time.
        megapixels_per_second: of output, at the median time.
        memory: peak beyond input and weights.
        joules_per_image: of the whole device.
        multiply_adds: executed for one image, padding included.
        multiply_adds_of: the back end whose arithmetic was counted; None for no choice.
        gflop_per_second: two operations for each multiply-add, at the median time.
        share_of_matrix_rate: that over the measured matrix rate of the dtype.
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
    joules_per_image: float | None
    multiply_adds: int | None
    multiply_adds_of: str | None
    gflop_per_second: float | None
    share_of_matrix_rate: float | None


@dataclass(frozen=True, kw_only=True)
class SizeRun:
    """One interleaved run: heights and widths, subjects, those that failed, rooflines if asked for."""

    lr_size: tuple[int, int]
    output_size: tuple[int, int]
    subjects: tuple[Figures, ...]
    failed: tuple[Skipped, ...]
    rooflines: tuple[Roofline, ...]


@dataclass(frozen=True, kw_only=True)
class LabRecord:
    """Of one command.

    ``complete`` is False after Ctrl-C. ``energy`` names the meter, or says why there is none. ``loading`` is
    the loader's report, with ``data=`` alone.
    """

    kind: str
    complete: bool
    conditions: LabConditions
    settings: LabSettings
    ceilings: tuple[Ceilings, ...]
    energy: str
    sizes: tuple[SizeRun, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    loading: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """What :func:`read_record` gives after :func:`write_record`: plain values alone."""
        return json.loads(json.dumps(_plain(self), allow_nan=False))


def write_record(record: LabRecord, path: Path) -> None:
    """As indented JSON, whole or not at all."""
    text = json.dumps(record.as_json(), indent=1) + "\n"
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_record(path: Path) -> dict[str, Any]:
    """What ``write_record`` wrote.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: the file is no record of the lab.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ValueError(f"{path} is no record of srlab profile: it has no kind {KIND!r}")
    return content


def _plain(record: LabRecord) -> dict[str, Any]:
    """Like ``asdict``; named tuples become mappings, too."""
    content = asdict(record)
    for size, run in zip(content["sizes"], record.sizes, strict=True):
        for line, found in zip(size["rooflines"], run.rooflines, strict=True):
            line["needs"] = found.needs._asdict()
    return content
