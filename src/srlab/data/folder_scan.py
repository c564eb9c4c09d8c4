"""Finds image files below a folder, lists skipped ones, and gives names unique on every file system."""

import itertools
import logging
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from srlab.data.images import IMAGE_SUFFIXES
from srlab.data.low_resolution import is_lr_folder, lr_stems
from srlab.terminal.names import some

log = logging.getLogger(__name__)

# Image formats that are not supported; the log says how many such files were passed over.
_UNSUPPORTED = (
    *(".gif", ".jp2", ".j2k", ".jpx", ".avif", ".heic", ".heif", ".jxl", ".tga", ".exr", ".hdr", ".pfm"),
    *(".pbm", ".pcx", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".raw"),
    *(".jxr", ".dds", ".qoi", ".apng"),
)
# Thumbnails and deleted files of Synology, QNAP, macOS archives and Windows.
_SYSTEM_FOLDERS = (
    *("@eadir", "@__thumb", "#recycle", "@recycle", "#snapshot", "__macosx"),
    *("$recycle.bin", "lost+found", "system volume information"),
)


@dataclass(frozen=True)
class FolderScan:
    """What is below a folder.

    Attributes:
        top: the folder.
        images: HR candidates.
        low_resolution: number of images whose names say LR, by folder below ``top``.
        unsupported: number of files of unsupported image formats, by suffix.
    """

    top: Path
    images: tuple[Path, ...]
    low_resolution: Counter[str]
    unsupported: Counter[str]

    def left_out(self) -> list[str]:
        """What is left out, a sentence for each reason, low resolution first."""
        reasons = (
            (self.low_resolution, "as low resolution, by the names of files or folders"),
            (self.unsupported, "because their format is not supported"),
        )
        return [
            f"{found.total()} file(s) below {self.top} are left out {reason}: "
            + some([f"{name} ({count})" for name, count in found.most_common()])
            for found, reason in reasons
            if found
        ]


def scan_folder(top: Path) -> FolderScan:
    """Search all folders, except hidden ones and those that systems make.

    Linked folders are followed; a folder that is reached twice counts once.
    """
    candidates: list[Path] = []
    low_resolution, unsupported = Counter[str](), Counter[str]()
    for path, lr_folder in files_below(top):
        suffix = path.suffix.lower()
        if suffix in _UNSUPPORTED:
            unsupported[suffix] += 1
        elif suffix in IMAGE_SUFFIXES and lr_folder is not None:
            low_resolution[lr_folder] += 1
        elif suffix in IMAGE_SUFFIXES:
            candidates.append(path)
    lr_names = lr_stems({path.stem for path in candidates})
    low_resolution.update(
        path.parent.relative_to(top).as_posix() for path in candidates if path.stem in lr_names
    )
    images = tuple(path for path in candidates if path.stem not in lr_names)
    return FolderScan(top, images, low_resolution, unsupported)


def images_below(folder: Path, *, other_than: Collection[Path] = ()) -> dict[str, Path]:
    """All images below a folder by their unique names, whatever they say, but for these resolved paths."""
    paths = sorted(
        path
        for path, _ in files_below(folder)
        if path.suffix.lower() in IMAGE_SUFFIXES and path.resolve() not in other_than
    )
    return dict(zip(unique_names([path.relative_to(folder) for path in paths]), paths, strict=True))


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Names for relative paths, unique even where case or Unicode composition does not count.

    That is the path without suffix; with suffix, where two would be equal; with ``~2``, ``~3``, … appended,
    where that is not enough (``baby.png``, ``Baby.png``).
    """
    stems = [path.with_suffix("").as_posix() for path in paths]
    times = Counter(map(_folded, stems))
    names = [
        stem if times[_folded(stem)] == 1 else path.as_posix()
        for stem, path in zip(stems, paths, strict=True)
    ]
    given, taken = set(map(_folded, names)), set[str]()
    for place in sorted(range(len(names)), key=names.__getitem__):
        name = names[place]
        if _folded(name) in taken:
            numbered = (f"{name}~{count}" for count in itertools.count(2))
            names[place] = next(other for other in numbered if _folded(other) not in given | taken)
        taken.add(_folded(names[place]))
    return names


@cache
def log_once(message: str) -> None:
    """Log it the first time in this process: several sources search the same folder."""
    log.info("%s", message)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def files_below(top: Path) -> Iterator[tuple[Path, str | None]]:
    """Each file with the LR folder below ``top`` that it is in.

    Each folder comes once, whatever links lead to it; links come last, so that real folders keep their names.
    """
    waiting: list[tuple[Path, str | None]] = [(top, None)]
    links: list[tuple[Path, str | None]] = []
    seen: set[Path] = set()
    while waiting or links:
        folder, lr_folder = waiting.pop() if waiting else links.pop(0)
        if (real := folder.resolve()) in seen:
            continue
        seen.add(real)
        for entry in _visible_entries(folder):
            if entry.is_dir():
                is_lr = lr_folder is None and is_lr_folder(entry.name)
                label = entry.relative_to(top).as_posix() if is_lr else lr_folder
                (links if entry.is_symlink() else waiting).append((entry, label))
            elif entry.is_file():
                yield entry, lr_folder


def _visible_entries(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except PermissionError:
        log.warning("skipped: no permission to read the folder %s", folder)
        return []
    return [
        entry
        for entry in entries
        if not entry.name.startswith(".") and entry.name.casefold() not in _SYSTEM_FOLDERS
    ]
