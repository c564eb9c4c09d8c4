"""Where high-resolution images lie on disk. A source finds files; it reads no pixels.

A new layout needs one class with a ``find`` method in a file of its own, and one file in ``conf/data``.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from srlab.data.folder_scan import FolderScan, numbered, scan_folder, tell_once, unique_names
from srlab.data.images import IMAGE_SUFFIXES
from srlab.data.low_resolution import lr_folders

__all__ = [
    "Folder",
    "Found",
    "ImageFile",
    "ImageSet",
    "Source",
    "find_images",
    "listing",
    "lr_beside",
]

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
        lr_folders: folders with ``<name>x{scale}.png`` or ``<name>.png``, by scale; for others LR is made.
        if_none_usable: what to do where every file is bad; ends messages.
    """

    name: str
    files: tuple[ImageFile, ...]
    lr_folders: Mapping[int, Path] = field(default_factory=dict)
    if_none_usable: str = "see the warnings"

    def lr_path(self, file_name: str, scale: int) -> Path | None:
        """The LR file that belongs to an HR file, or None where there is no folder for this scale.

        Raises:
            ValueError: if the folder is there and lacks the file.
        """
        folder = self.lr_folders.get(scale)
        if folder is None:
            return None
        stems = (f"{file_name}x{scale}", file_name)
        suffixes = (".png", *sorted(IMAGE_SUFFIXES - {".png"}))
        candidates = (folder / f"{stem}{suffix}" for stem in stems for suffix in suffixes)
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            raise ValueError(
                f"the LR file {folder / stems[0]}.png of {file_name} of {self.name} is not there"
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
    """Every image below one or several folders, however deep, but for those that their names say are LR.

    Where the folder has a subfolder ``HR``, only that one counts, and ``LR_bicubic/X{scale}`` or
    ``LRbicx{scale}`` beside it holds LR files. Linked folders are followed; a folder or file that is reached
    twice counts once.

    Args:
        root: folder, or several.
        part: ``"all"``, or the two halves of a split that depends on the files' names alone: ``"held_out"``
            are the one in twenty (1 to 20 files) with the smallest SHA-256 of their name, ``"train"`` the
            others.
        set_name: None for the folder's own name.
        option: what gave ``root``, for messages.
    """

    def __init__(
        self,
        *,
        root: str | Sequence[str],
        part: Literal["all", "train", "held_out"] = "all",
        set_name: str | None = None,
        option: str = "data.root",
    ) -> None:
        if part not in ("all", "train", "held_out"):
            raise ValueError(f"part must be 'all', 'train' or 'held_out', got {part!r}")
        roots = [root] if isinstance(root, str) else list(root)
        if not roots:
            raise ValueError(f"{option} names no folder; give {option}=PATH")
        self.roots = list({(path := Path(entry).expanduser()).resolve(): path for entry in roots}.values())
        self.part = part
        self.set_name = set_name
        self.option = option

    def find(self) -> Found:
        """One set with the images of all folders; with several, names start with the folder's."""
        files: dict[Path, ImageFile] = {}
        paired: Mapping[int, Path] = {}
        for root, prefix in zip(self.roots, _prefixes(self.roots), strict=True):
            folder = root / "HR" if (root / "HR").is_dir() else root
            found = find_images(folder, prefix=prefix, remedy=f"check {self.option}")
            if folder != root:
                paired = lr_beside(folder, found, pair=len(self.roots) == 1)
            for file in found:
                files.setdefault(file.path.resolve(), file)
        names = numbered([file.name for file in files.values()])
        apart = [replace(file, name=name) for file, name in zip(files.values(), names, strict=True)]
        name = self.set_name or "+".join(root.resolve().name for root in self.roots)
        image_set = ImageSet(name, self._part_of(apart), paired)
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


def find_images(
    folder: Path, *, prefix: str = "", remedy: str = "check data.root or SRLAB_DATA"
) -> list[ImageFile]:
    """All images below ``folder`` in natural order (2 before 10) that their names do not say are LR.

    What is left out is logged.

    Args:
        folder: looked through as deep as it is.
        prefix: of all names.
        remedy: ends messages.

    Raises:
        ValueError: if ``folder`` is not a folder or holds no image.
    """
    if not folder.is_dir():
        kind = "a file, not a folder" if folder.exists() else "not there"
        raise ValueError(f"the image folder {folder} is {kind}; {remedy}")
    scan = scan_folder(folder)
    if not scan.images:
        raise ValueError(_nothing_in(scan, remedy))
    for sentence in scan.told():
        tell_once(sentence)
    names = unique_names([path.relative_to(folder) for path in scan.images])
    files = [ImageFile(prefix + name, path) for name, path in zip(names, scan.images, strict=True)]
    return sorted(files, key=lambda file: _natural(file.name))


def _nothing_in(scan: FolderScan, remedy: str) -> str:
    if scan.low_resolution:
        return (
            f"the image folder {scan.top} holds low-resolution images alone, by their names "
            f"({', '.join(scan.low_resolution)}); name the folder of those that are meant, or {remedy}"
        )
    others = f", but {' and '.join(scan.not_read)}, which are not read" if scan.not_read else ""
    suffixes = " ".join(sorted(IMAGE_SUFFIXES))
    return f"the image folder {scan.top} holds no image ({suffixes}){others}; {remedy}"


def lr_beside(hr_folder: Path, files: Sequence[ImageFile], *, pair: bool = True) -> dict[int, Path]:
    """Folders with LR files beside the folder ``HR``, by scale; what else lies there is logged as left out.

    Args:
        hr_folder: called ``HR``.
        files: found in it.
        pair: False leaves all LR files out.
    """
    base = hr_folder.parent
    paired = lr_folders(base) if pair else {}
    scan = scan_folder(base)
    read_from = {folder.relative_to(base).parts[0] for folder in paired.values()}
    left_out = Counter({name: count for name, count in scan.low_resolution.items() if name not in read_from})
    inside = {file.path.resolve() for file in files}
    beside = {path.resolve() for path in scan.images} - inside
    if beside:
        tell_once(f"{len(beside)} image(s) beside {hr_folder} are left out: only those below it count")
    for sentence in replace(scan, low_resolution=left_out, not_read=Counter()).told():
        tell_once(sentence)
    return paired


def _prefixes(roots: Sequence[Path]) -> list[str]:
    """What tells several folders apart: their names, or as much of their paths as that takes."""
    if len(roots) == 1:
        return [""]
    parts = [root.resolve().parts for root in roots]
    lengths = range(1, max(map(len, parts)) + 1)
    tails = (["/".join(part.strip("/") for part in path[-length:]) for path in parts] for length in lengths)
    distinct = next(each for each in tails if len(set(each)) == len(each))
    return [f"{tail}/" for tail in distinct]


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
