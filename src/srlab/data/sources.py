"""Where high-resolution images lie on disk. A source finds files; it reads no pixels.

A new layout needs one class with a ``find`` method in a file of its own, and one file in ``conf/data``.
"""

import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from srlab.data.images import IMAGE_SUFFIXES

__all__ = [
    "Folder",
    "Found",
    "ImageFile",
    "ImageSet",
    "Source",
    "find_images",
    "listing",
]

log = logging.getLogger(__name__)

_MOST_HELD_OUT = 20
# A split that looked at the pixels would move images into the training set when a file is repaired.
_IF_NONE_HELD_OUT = (
    "the held-out images are chosen by name alone and none of them is usable: repair them, or give images to "
    "validate on with data.validation_root=PATH"
)


@dataclass(frozen=True)
class ImageFile:
    """One HR file; ``name`` is its path below the set's root without suffix, unique in its set."""

    name: str
    path: Path


@dataclass(frozen=True)
class ImageSet:
    """HR files under one name.

    Attributes:
        name: as tables and metric keys show it.
        files: in natural order.
        lr_root: folder with ``X{scale}/<name>x{scale}.png``, or None where LR is always made.
        if_none_usable: what to do where every file is bad; ends messages.
    """

    name: str
    files: tuple[ImageFile, ...]
    lr_root: Path | None = None
    if_none_usable: str = "see the warnings"

    def lr_path(self, file_name: str, scale: int) -> Path | None:
        """The LR file that belongs to an HR file, or None where there is no folder for this scale.

        Raises:
            ValueError: if the folder is there and lacks the file.
        """
        if self.lr_root is None or not (self.lr_root / f"X{scale}").is_dir():
            return None
        path = self.lr_root / f"X{scale}" / f"{file_name}x{scale}.png"
        if not path.is_file():
            raise ValueError(
                f"the LR file {path} of {file_name} of {self.name} is not there; rename the one "
                f"that is meant, or remove the folder {path.parent} to have all LR made"
            )
        return path


@dataclass(frozen=True)
class Found:
    """What is there of what was asked for."""

    sets: tuple[ImageSet, ...]
    absent: tuple[str, ...] = ()


class Source(Protocol):
    """Finds its images when asked, never when built."""

    def find(self) -> Found:
        """Look on the disk.

        Raises:
            ValueError: if nothing usable is there, with the paths tried and what to do.
        """
        ...


class Folder:
    """Every image below one or several folders, however deep, except in folders called ``LR_bicubic…``.

    Where the folder has a subfolder ``HR``, only that one counts, and ``LR_bicubic/X{scale}`` beside it holds
    LR files. Linked folders are followed; a folder that is reached twice counts once.

    Args:
        root: folder, or several.
        part: ``"all"``, or the two halves of a split that depends on the files' names alone: ``"held_out"``
            are the one in twenty (1 to 20 files) with the smallest SHA-256 of their name, ``"train"`` the
            others.
        set_name: None for the folder's own name.
    """

    def __init__(
        self,
        *,
        root: str | Sequence[str],
        part: Literal["all", "train", "held_out"] = "all",
        set_name: str | None = None,
    ) -> None:
        if part not in ("all", "train", "held_out"):
            raise ValueError(f"part must be 'all', 'train' or 'held_out', got {part!r}")
        roots = [root] if isinstance(root, str) else list(root)
        if not roots:
            raise ValueError("data.root names no folder; give data.root=PATH")
        self.roots = [Path(entry).expanduser() for entry in roots]
        self.part = part
        self.set_name = set_name

    def find(self) -> Found:
        """One set with the images of all folders; with several, names start with the folder's."""
        files: list[ImageFile] = []
        for root in self.roots:
            folder = root / "HR" if (root / "HR").is_dir() else root
            prefix = f"{root.name}/" if len(self.roots) > 1 else ""
            files += find_images(folder, prefix=prefix)
            if folder != root:
                _tell_of_images_beside(folder, files)
        if len({file.name for file in files}) < len(files):
            raise ValueError(f"two of the folders {listing(self.roots)} have the same name; rename one")
        lr_root = self.roots[0] / "LR_bicubic"
        beside = len(self.roots) == 1 and (self.roots[0] / "HR").is_dir() and lr_root.is_dir()
        name = self.set_name or "+".join(root.resolve().name for root in self.roots)
        image_set = ImageSet(name, self._part_of(files), lr_root if beside else None)
        if self.part == "held_out":
            image_set = replace(image_set, if_none_usable=_IF_NONE_HELD_OUT)
        return Found((image_set,))

    def _part_of(self, files: list[ImageFile]) -> tuple[ImageFile, ...]:
        if self.part == "all":
            return tuple(files)
        if len(files) < 2:
            raise ValueError(
                f"{listing(self.roots)} holds {len(files)} image, which cannot be split into training "
                "and validation; "
                "add images or give data.validation_root=PATH"
            )
        number = min(_MOST_HELD_OUT, max(1, round(len(files) / 20)))
        held_out = set(sorted(files, key=lambda file: hashlib.sha256(file.name.encode()).digest())[:number])
        return tuple(file for file in files if (file in held_out) == (self.part == "held_out"))


def find_images(folder: Path, *, prefix: str = "") -> list[ImageFile]:
    """All images below ``folder`` in natural order (2 before 10), without folders called ``LR_bicubic…``.

    Linked folders are followed. Names are relative paths without suffix; where that would give two files one
    name, they keep their suffix.

    Raises:
        ValueError: if ``folder`` is not a folder or holds no image.
    """
    if not folder.is_dir():
        kind = "a file, not a folder" if folder.exists() else "not there"
        raise ValueError(f"the image folder {folder} is {kind}; check data.root or SRLAB_DATA")
    paths = list(_image_paths(folder))
    if not paths:
        suffixes = " ".join(sorted(IMAGE_SUFFIXES))
        raise ValueError(
            f"the image folder {folder} holds no image ({suffixes}); check data.root or SRLAB_DATA"
        )
    stems = [path.relative_to(folder).with_suffix("").as_posix() for path in paths]
    clashing = {stem for stem in stems if stems.count(stem) > 1} if len(set(stems)) < len(stems) else set()
    names = [
        path.relative_to(folder).as_posix() if stem in clashing else stem
        for path, stem in zip(paths, stems, strict=True)
    ]
    files = [ImageFile(prefix + name, path) for name, path in zip(names, paths, strict=True)]
    return sorted(files, key=lambda file: _natural(file.name))


def _image_paths(top: Path) -> Iterator[Path]:
    """Each folder once, whatever links lead to it; links come last, so that real folders keep their names."""
    waiting, links, seen = [top], list[Path](), set[Path]()
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop(0)
        if (place := folder.resolve()) in seen:
            continue
        seen.add(place)
        for entry in _visible_entries(folder):
            if entry.is_dir():
                (links if entry.is_symlink() else waiting).append(entry)
            elif entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file():
                yield entry


def _visible_entries(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except PermissionError:
        log.warning("skipped: the folder %s may not be read", folder)
        return []
    return [entry for entry in entries if not entry.name.startswith((".", "LR_bicubic"))]


def _tell_of_images_beside(folder: Path, files: Sequence[ImageFile]) -> None:
    inside = {file.path.resolve() for file in files}
    beside = {path.resolve() for path in _image_paths(folder.parent)} - inside
    if beside:
        log.info("%d image(s) beside %s are left out: only those below it count", len(beside), folder)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which digits count as numbers; the plain text breaks ties such as 01 and 1."""
    parts = [
        (0, int(part), "") if part.isdecimal() else (1, 0, part.casefold())
        for part in re.split(r"(\d+)", name)
    ]
    return [*parts, (2, 0, name)]


def listing(paths: Sequence[Path]) -> str:
    """For messages."""
    return ", ".join(map(str, paths))
