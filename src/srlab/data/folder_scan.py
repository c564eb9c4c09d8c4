"""Image files below a folder, what is left out of them, and names that are unique on every file system."""

import logging
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from srlab.data.images import IMAGE_SUFFIXES
from srlab.data.low_resolution import is_lr_folder, lr_stems

log = logging.getLogger(__name__)

# Image formats that are not supported; the log says how many such files were passed over.
# fmt: off
_UNSUPPORTED = frozenset({
    ".gif", ".jp2", ".j2k", ".jpx", ".avif", ".heic", ".heif", ".jxl", ".tga", ".exr", ".hdr", ".pfm",
    ".pbm", ".pcx", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".raw",
    ".jxr", ".dds", ".qoi", ".apng",
})
# fmt: on
# Thumbnails and deleted files of Synology, QNAP, macOS archives and Windows.
_SYSTEM_FOLDERS = frozenset(
    {
        *("@eadir", "@__thumb", "#recycle", "@recycle", "#snapshot", "__macosx"),
        *("$recycle.bin", "lost+found", "system volume information"),
    }
)
_MOST_NAMED = 6


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
        """What is left out, a sentence for each reason."""
        sentences: list[str] = []
        if self.low_resolution:
            sentences.append(
                f"{self.low_resolution.total()} image(s) below {self.top} are left out as low resolution, by "
                f"the names of files or folders: {_some(self.low_resolution, '{} ({})')}"
            )
        if self.unsupported:
            sentences.append(
                f"{self.unsupported.total()} file(s) below {self.top} are left out because their format is "
                f"not supported: {_some(self.unsupported, '{1} {0}')}"
            )
        return sentences


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


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Names for relative paths, unique even where case or Unicode composition does not count.

    That is the path without suffix; with suffix, where two would be equal; with a number appended, where that
    is not enough (``baby.png``, ``Baby.png``).
    """
    stems = [path.with_suffix("").as_posix() for path in paths]
    times = Counter(map(_folded, stems))
    return numbered(
        [
            stem if times[_folded(stem)] == 1 else path.as_posix()
            for stem, path in zip(stems, paths, strict=True)
        ]
    )


def numbered(names: Sequence[str]) -> list[str]:
    """The names, with ``~2``, ``~3``, … appended to those that equal an earlier one except for case."""
    taken = set(map(_folded, names))
    seen: set[str] = set()
    unique = list(names)
    for place in sorted(range(len(names)), key=names.__getitem__):
        name, count = names[place], 2
        if _folded(name) in seen:
            while _folded(f"{name}~{count}") in taken:
                count += 1
            unique[place] = f"{name}~{count}"
            taken.add(_folded(unique[place]))
        seen.add(_folded(name))
    return unique


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


def _some(counts: Counter[str], entry: str) -> str:
    named = [entry.format(name, count) for name, count in counts.most_common(_MOST_NAMED)]
    return ", ".join(named) + (", …" if len(counts) > _MOST_NAMED else "")
