"""What a reader of the tables must know beside the figures."""

from collections.abc import Iterator, Sequence

from srlab.extensions.lab.conditions import LabConditions, busy_warning
from srlab.extensions.lab.record import LabSettings, SizeRun
from srlab.extensions.lab.subjects import Skipped

__all__ = ["notes_on"]


def notes_on(
    *,
    conditions: LabConditions,
    settings: LabSettings,
    skipped: Sequence[Skipped],
    sizes: Sequence[SizeRun],
    complete: bool,
) -> Iterator[str]:
    """One sentence for each thing that is missing, in doubt or not what it may seem."""
    if not complete:
        yield "interrupted: these are the rounds that were finished"
    busy = busy_warning(conditions)
    if busy:
        yield busy
    yield from (f"skipped {each.subject}: {each.reason}" for each in skipped)
    for run in sizes:
        yield from _failures(run, settings.baseline)
    if settings.step == "training":
        yield "a training step has no share of the matrix rate: its multiply-adds are not counted"
    yield from _counted_otherwise(sizes)
    yield from _above_the_ceiling(sizes)


def _above_the_ceiling(sizes: Sequence[SizeRun]) -> Iterator[str]:
    shares = [(each.share_of_matrix_rate or 0, each.label) for run in sizes for each in run.subjects]
    largest, label = max(shares, default=(0, ""))
    if largest > 1:
        yield (
            f"{label} ran at {largest:.0%} of the measured matrix rate: something slowed the machine down "
            "while that was measured; measure again when nothing else runs"
        )


def _failures(run: SizeRun, baseline: str) -> Iterator[str]:
    size = f"{run.lr_size[0]}x{run.lr_size[1]}"
    yield from (f"not measured at {size}: {each.subject}: {each.reason}" for each in run.failed)
    if all(each.speedup is None for each in run.subjects):
        yield f"no speed-ups at {size}: the baseline {baseline} was not timed"


def _counted_otherwise(sizes: Sequence[SizeRun]) -> Iterator[str]:
    labels = {
        each.label: each.multiply_adds_of
        for run in sizes
        for each in run.subjects
        if each.multiply_adds is not None and each.multiply_adds_of != each.resolved_backend
    }
    for label, counted in labels.items():
        yield f"multiply-adds of {label} are those of {counted}: its own operators cannot be counted"
