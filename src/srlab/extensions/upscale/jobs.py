"""Runs a plan, one image after the other: one that fails does not stop the others."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from srlab.extensions.upscale.planes import enlarge_picture
from srlab.extensions.upscale.planning import Job
from srlab.extensions.upscale.reading import read_picture
from srlab.extensions.upscale.stamps import Recipe, read_stamp, same_making
from srlab.extensions.upscale.writing import Encoding, check_storable, write_picture

log = logging.getLogger(__name__)

State = Literal["written", "kept", "different", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        job: which.
        state: ``kept``: the output was there already, from the same input with the same options;
            ``different``: another file exists and was not changed.
        reason: why it is different or failed.
        notes: what was converted or left out.
        megapixels: of the output, if it was written.
        seconds: that reading, enlarging and writing took.
    """

    job: Job
    state: State
    reason: str = ""
    notes: tuple[str, ...] = ()
    megapixels: float = 0.0
    seconds: float = 0.0


def run_job(
    job: Job, recipe: Recipe, *, overwrite: bool, on_progress: Callable[[float], None] | None = None
) -> Outcome:
    """Enlarge one file, unless its output is there.

    Args:
        job: what to do.
        recipe: how.
        overwrite: replace whatever is there, outputs of the same recipe included.
        on_progress: called with the part of the network's work that is done, 0 to 1.
    """
    started = time.monotonic()
    try:
        data = job.source.read_bytes()
        encoding = Encoding(job.kind, recipe.quality)
        stamp = recipe.stamp(data, encoding)
        if not overwrite and (present := _present(job, stamp)) is not None:
            return present
        _check_writable(job.destination)
        picture = read_picture(data)
        size = recipe.target.size_for(*picture.size)
        check_storable(picture, size, job.kind)
        larger = enlarge_picture(
            picture, recipe.upscaler.network, size, recipe.options, on_progress=on_progress
        )
        lost = write_picture(larger, job.destination, encoding, stamp=stamp)
    except (ValueError, OSError, MemoryError) as error:
        return Outcome(job, "failed", _reason(error, job))
    done = Outcome(job, "written", notes=(*picture.notes, *lost), megapixels=size[0] * size[1] / 1e6)
    return replace(done, seconds=time.monotonic() - started)


def run_jobs(
    jobs: tuple[Job, ...],
    recipe: Recipe,
    *,
    overwrite: bool,
    show: Callable[[float, str], None],
) -> Iterator[Outcome]:
    """Yield each outcome as soon as it is known.

    Args:
        jobs: what to do.
        recipe: how.
        overwrite: replace whatever is there.
        show: called with how many jobs are done, parts included, and a line of text.
    """
    megapixels = seconds = 0.0
    for number, job in enumerate(jobs):
        rate = f", {megapixels / seconds:.2f} megapixels/s" if megapixels else ""
        text = f"{number} of {len(jobs)} images{rate}: {job.source.name}"
        show(number, text)
        outcome = run_job(
            job,
            recipe,
            overwrite=overwrite,
            on_progress=lambda part, number=number, text=text: show(number + part, text),
        )
        megapixels, seconds = megapixels + outcome.megapixels, seconds + outcome.seconds
        yield outcome
    show(len(jobs), f"{len(jobs)} images")


def _present(job: Job, stamp: str) -> Outcome | None:
    """The outcome if something has the name of the output; None if nothing has."""
    if not os.path.lexists(job.destination):
        return None
    found = read_stamp(job.destination)
    if same_making(found, stamp):
        return Outcome(job, "kept")
    reason = (
        "is not by srlab upscale"
        if found is None
        else "was made from another input, with another network or other options"
    )
    return Outcome(job, "different", f"{job.destination} {reason}; --overwrite replaces it")


def _check_writable(path: Path) -> None:
    """Find out before the network runs that the output cannot be written."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; choose another --out or --suffix")
    folder = next(each for each in path.absolute().parents if each.exists())
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder, so {path} cannot be written")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"the folder {folder} cannot be written; choose another one with --out")


def _reason(error: Exception, job: Job) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename or job.destination}"
    return str(error) or type(error).__name__
