"""Which files are enlarged, and the names of the results."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from srlab.data.folder_scan import files_below
from srlab.data.images import IMAGE_SUFFIXES
from srlab.extensions.upscale.film_plan import CONTAINERS
from srlab.extensions.upscale.stamps import read_stamp
from srlab.extensions.upscale.writing import SUFFIXES, Format

_READ = IMAGE_SUFFIXES | {".gif"}
# Pictures of formats that are not read; the summary says how many were passed over.
_CAMERA = {".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"}
_COMPRESSED = {".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k"}
_UNREADABLE = _CAMERA | _COMPRESSED | {".psd", ".exr", ".hdr", ".tga", ".apng"}


@dataclass(frozen=True)
class Job:
    """One input and its output.

    Attributes:
        source: the file to read.
        destination: the file to write.
        kind: its format.
    """

    source: Path
    destination: Path
    kind: Format


@dataclass(frozen=True)
class Naming:
    """How outputs are called.

    Attributes:
        out: folder, or file for a single input; None: beside each input.
        suffix: appended to the name before the format; None: ``_`` and the target if ``out`` is None.
        kind: format; None: that of the input where it can be written, else PNG.
        target: such as ``x4``, for names.
    """

    out: Path | None
    suffix: str | None
    kind: Format | None
    target: str

    @property
    def appended(self) -> str:
        """To the names of files."""
        if self.suffix is not None:
            return self.suffix
        return f"_{self.target}" if self.out is None else ""


@dataclass(frozen=True)
class Plan:
    """What a command does.

    Attributes:
        jobs: in the order of the inputs, folders sorted by name; no two write the same file.
        notes: what is left out, sentences.
    """

    jobs: tuple[Job, ...]
    notes: tuple[str, ...] = ()


@dataclass
class _Found:
    """Inputs with the folder to write to and what is appended to their names; ``passed_over`` by reason."""

    files: list[tuple[Path, Path, str]] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


def plan(inputs: Sequence[Path], naming: Naming) -> Plan:
    """Find the files and name the results; the inputs exist (:func:`.film_plan.are_films`).

    Folders are searched to any depth, hidden ones left out, and their hierarchy is kept: a single folder's
    below ``out`` itself, that of several below folders of their names; without ``out``, below a folder beside
    the input whose name ends in the suffix. Found files below ``out``, and those that carry the mark of
    an earlier output, are left out; so are outputs of other inputs of the same command.

    Raises:
        ValueError: nothing to do, or a result that would replace an input.
    """
    as_file = _as_file(inputs, naming)
    if as_file is not None:
        _refuse_replacing([as_file])
        return Plan((as_file,))
    found = _find(inputs, naming)
    jobs = _distinct([_job(*file, naming.kind) for file in found.files])
    made = {_folded(job.destination): job.source for job in jobs}
    kept = [job for job in jobs if not _is_result(job.source, made)]
    if len(kept) < len(jobs):
        found.passed_over["results of other images of this command"] += len(jobs) - len(kept)
    notes = tuple(f"left out: {count} {reason}" for reason, count in found.passed_over.items())
    if not kept:
        listed = ", ".join(map(str, inputs))
        raise ValueError(". ".join([f"there is no image to enlarge in {listed}", *notes]))
    _refuse_replacing(kept)
    return Plan(tuple(kept), notes)


def _is_result(source: Path, made: Mapping[str, Path]) -> bool:
    """Whether it is what an earlier run made of another input; ``made`` are inputs by their results."""
    origin = made.get(_folded(source.absolute()), source)
    return origin != source and read_stamp(source) is not None


def _as_file(inputs: Sequence[Path], naming: Naming) -> Job | None:
    """The only job if ``out`` names a file; None for a folder."""
    out = naming.out
    if out is None or out.is_dir():
        return None
    kind = SUFFIXES.get(out.suffix.lower())
    if kind is None:
        if out.exists():
            raise ValueError(f"--out {out} is a file, but of no format that can be written; name a folder")
        if out.suffix.lower() in _READ | _UNREADABLE | CONTAINERS.keys():
            raise ValueError(
                f"--out {out}: {out.suffix} cannot be written; use .png, .jpg, .webp or .tif, or a folder"
            )
        return None
    if len(inputs) > 1 or inputs[0].is_dir():
        raise ValueError(f"--out {out} is the name of one file, but several images need a folder")
    if naming.kind not in (None, kind):
        raise ValueError(f"--out {out} and --format {naming.kind} contradict each other; leave --format out")
    if naming.suffix is not None:
        raise ValueError(f"--out {out} is the whole name; leave --suffix out")
    return Job(inputs[0], out, kind)


def _find(inputs: Sequence[Path], naming: Naming) -> _Found:
    found, seen = _Found(), set[Path]()
    several_folders = sum(path.is_dir() for path in inputs) > 1
    for path in inputs:
        if path.is_dir():
            files = _in_folder(path, naming, several_folders, found.passed_over)
        else:
            files = iter([(path, naming.out or path.parent, naming.appended)])
        for file in files:
            if (real := file[0].resolve()) not in seen:
                seen.add(real)
                found.files.append(file)
    return found


def _in_folder(
    folder: Path, naming: Naming, is_one_of_several: bool, passed_over: Counter[str]
) -> Iterator[tuple[Path, Path, str]]:
    """Without ``out`` the folder of the results has the suffix, and files keep their names."""
    real = folder.resolve()
    if naming.out is None:
        top, appended = real.with_name(f"{real.name}{naming.appended or '_upscaled'}"), naming.suffix or ""
    else:
        top, appended = naming.out / real.name if is_one_of_several else naming.out, naming.appended
    for path in _images_below(folder, (naming.out or top).resolve(), passed_over):
        yield path, top / path.parent.relative_to(folder), appended


def _images_below(top: Path, out: Path, passed_over: Counter[str]) -> Iterator[Path]:
    is_inside = top.resolve() in out.parents
    for path in sorted(each for each, _ in files_below(top)):
        suffix = path.suffix.lower()
        if suffix in _UNREADABLE:
            passed_over[f"{suffix} file(s), a format that is not supported"] += 1
        elif suffix in CONTAINERS:
            passed_over["film(s), which are to be named one by one"] += 1
        elif suffix not in _READ or (is_inside and out in path.resolve().parents):
            continue
        elif suffix in SUFFIXES and read_stamp(path) is not None:
            passed_over["image(s) that srlab upscale made"] += 1
        else:
            yield path


def _job(source: Path, folder: Path, appended: str, wanted: Format | None) -> Job:
    suffix = source.suffix.lower()
    kind = wanted or SUFFIXES.get(suffix, "png")
    ending = source.suffix if SUFFIXES.get(suffix) == kind else f".{kind}"
    return Job(source, (folder / f"{source.stem}{appended}{ending}").absolute(), kind)


def _distinct(jobs: Sequence[Job]) -> list[Job]:
    """Results of one name get the format of their input in it, then numbers."""
    times = Counter(_folded(job.destination) for job in jobs)
    taken, distinct = set[str](), []
    for job in jobs:
        path = job.destination
        if times[_folded(path)] > 1:
            appended = path.name.removeprefix(job.source.stem)
            path = path.with_name(f"{job.source.stem}_{job.source.suffix[1:]}{appended}")
        number, stem = 2, path.stem
        while _folded(path) in taken:
            path, number = path.with_name(f"{stem}~{number}{path.suffix}"), number + 1
        taken.add(_folded(path))
        distinct.append(replace(job, destination=path))
    return distinct


def _refuse_replacing(jobs: Sequence[Job]) -> None:
    originals = {job.source.resolve() for job in jobs}
    for job in jobs:
        if job.destination.resolve() in originals:
            raise ValueError(
                f"{job.source} would be enlarged into {job.destination}, an input; give --out or --suffix"
            )


def _folded(path: Path) -> str:
    """Equal for names that are equal on file systems that ignore case or Unicode composition."""
    return unicodedata.normalize("NFC", os.fspath(path)).casefold()
