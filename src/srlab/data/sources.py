"""Functions that find the HR files of a set, without reading pixels.

A data set with its own layout needs such a function in a file of its own, and a file in ``conf/data``.
"""

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from srlab.data.folder_scan import images_below, log_once, scan_folder, unique_names
from srlab.data.images import IMAGE_SUFFIXES
from srlab.data.low_resolution import lr_folders
from srlab.terminal.names import some

Roots = str | Sequence[str]
"""A folder, or several."""
Part = Literal["all", "train", "held_out"]
"""All files, or one side of the split that ``folder_images`` describes."""

_MOST_HELD_OUT = 20
# A split that depended on pixels would move images into the training set when a file is repaired.
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
        files: in natural order; none if the set is absent.
        lr_folders: folders with ``<name>x{scale}.png`` or ``<name>.png``, by scale; for others LR is made.
        if_none_usable: what to do if no file is usable; ends messages.
        lr_files: LR file of each HR file, by its name, made by whatever degradation; None: ``lr_folders`` has
            bicubic ones or none.
        is_low_resolution: ``files`` are LR, and there is no HR.
    """

    name: str
    files: tuple[ImageFile, ...]
    lr_folders: Mapping[int, Path] = field(default_factory=dict)
    if_none_usable: str = "see the warnings"
    lr_files: Mapping[str, Path] | None = None
    is_low_resolution: bool = False

    def lr_path(self, file_name: str, scale: float) -> Path | None:
        """The LR file of an HR file, or None if there is no folder for this scale.

        Raises:
            ValueError: if there is a folder without this file.
        """
        if self.lr_files is not None:
            return self.lr_files[file_name]
        folder = self.lr_folders.get(int(scale)) if scale == int(scale) else None
        if folder is None:
            return None
        stems = (f"{file_name}x{scale:g}", file_name)
        suffixes = (".png", *sorted(IMAGE_SUFFIXES - {".png"}))
        candidates = (folder / f"{stem}{suffix}" for stem in stems for suffix in suffixes)
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            raise ValueError(f"the LR file {folder / stems[0]}.png of {file_name} of {self.name} is missing")
        return path


Source = Callable[[], ImageSet]
"""Searches the disk when it is called; a ValueError names the folders and the remedy. It must pickle."""


def folder_images(
    root: Roots, *, part: Part = "all", set_name: str | None = None, option: str = "data.root"
) -> ImageSet:
    """Every image below one or several folders, however deep, except those whose names say LR.

    If the folder has a subfolder ``HR``, only its images count, and ``LR_bicubic/X{scale}`` or
    ``LRbicx{scale}`` next to it holds LR files. Linked folders are followed; a folder or file that is reached
    twice counts once. The names of several folders' images start with the folder's, or where two have the
    same, with its path below what the folders share.

    Args:
        root: folder, or several.
        part: ``"all"``, or one side of a split that depends on the files' names alone: ``"held_out"`` are the
            one in twenty (1 to 20 files) with the smallest SHA-256 of their name, ``"train"`` the others.
        set_name: None for the folder's own name.
        option: where ``root`` was set, for messages.
    """
    roots = list(dict.fromkeys(folders_of(root)))
    if not roots:
        raise ValueError(f"{option} names no folder; give {option}=PATH")
    files: dict[Path, ImageFile] = {}
    paired: Mapping[int, Path] = {}
    base = Path(os.path.commonpath([folder.parent for folder in roots]))
    names_differ = len({folder.name.casefold() for folder in roots}) == len(roots)
    for folder in roots:
        hr_folder = folder / "HR" if (folder / "HR").is_dir() else folder
        found = find_images(hr_folder, remedy=f"check {option}")
        if hr_folder != folder:
            paired = lr_folders_beside(hr_folder, found, pair=len(roots) == 1)
        prefix = f"{folder.name if names_differ else folder.relative_to(base)}/" if len(roots) > 1 else ""
        for file in found:
            files.setdefault(file.path.resolve(), ImageFile(prefix + file.name, file.path))
    chosen = split_images(list(files.values()), part=part, roots=roots)
    return ImageSet(
        set_name or "+".join(folder.name for folder in roots),
        tuple(chosen),
        paired,
        if_none_usable=_IF_NONE_HELD_OUT if part == "held_out" else ImageSet.if_none_usable,
    )


def folders_of(root: Roots) -> list[Path]:
    """Resolved, ``~`` included."""
    return [Path(entry).expanduser().resolve() for entry in ([root] if isinstance(root, str) else root)]


def split_images(
    files: list[ImageFile], *, part: Part, roots: Sequence[Path], remedy: str = "data.validation_root=PATH"
) -> list[ImageFile]:
    """One side of the split that ``folder_images`` describes.

    Raises:
        ValueError: there is one file alone; it ends with ``remedy``.
    """
    if part == "all":
        return files
    if len(files) < 2:
        raise ValueError(
            f"{some(roots)} holds {len(files)} image, which cannot be split into training and validation; "
            f"add images or give {remedy}"
        )
    number = min(_MOST_HELD_OUT, max(1, round(len(files) / 20)))
    chosen = set(sorted(files, key=lambda file: hashlib.sha256(file.name.encode()).digest())[:number])
    return [file for file in files if (file in chosen) == (part == "held_out")]


def find_images(folder: Path, *, remedy: str = "check data.root or SRLAB_DATA") -> list[ImageFile]:
    """All images below ``folder`` in natural order (2 before 10), except those whose names say LR.

    The log says what is left out.

    Raises:
        ValueError: if ``folder`` is not a folder or holds no image; it ends with ``remedy``.
    """
    if not folder.is_dir():
        kind = "is a file, not a folder" if folder.exists() else "does not exist"
        raise ValueError(f"the image folder {folder} {kind}; {remedy}")
    scan = scan_folder(folder)
    if not scan.images:
        parts = [f"the image folder {folder} holds no image ({' '.join(sorted(IMAGE_SUFFIXES))})"]
        raise ValueError("; ".join([*parts, *scan.left_out(), remedy]))
    for sentence in scan.left_out():
        log_once(sentence)
    names = unique_names([path.relative_to(folder) for path in scan.images])
    files = [ImageFile(name, path) for name, path in zip(names, scan.images, strict=True)]
    return sorted(files, key=lambda file: _natural(file.name))


def lr_images(root: str) -> ImageSet:
    """Every image below a folder, however deep, whatever its name says.

    Raises:
        ValueError: the folder does not exist or holds no image.
    """
    folder = Path(root).expanduser().resolve()
    if not folder.is_dir():
        raise ValueError(f"the image folder {folder} is not a folder; check data.root")
    files = images_below(folder)
    if not files:
        raise ValueError(
            f"the image folder {folder} holds no image ({' '.join(sorted(IMAGE_SUFFIXES))}); check data.root"
        )
    return ImageSet(folder.name, tuple(map(ImageFile, files.keys(), files.values())), is_low_resolution=True)


def lr_folders_beside(
    hr_folder: Path, files: Sequence[ImageFile], *, pair: bool = True
) -> Mapping[int, Path]:
    """LR folders next to the HR folder, by scale (none without ``pair``); logs what else is there."""
    base = hr_folder.parent
    paired = lr_folders(base) if pair else {}
    scan = scan_folder(base)
    for folder in paired.values():
        scan.low_resolution.pop(folder.relative_to(base).parts[0], None)
    others = {path.resolve() for path in scan.images} - {file.path.resolve() for file in files}
    if others:
        log_once(f"{len(others)} image(s) next to {hr_folder} are left out: only those below it count")
    if scan.low_resolution:
        log_once(scan.left_out()[0])
    return paired


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key in which digits count as numbers; the plain text breaks ties such as 01 and 1."""
    parts = [
        (0, int(part), "") if part.isdecimal() else (1, 0, part.casefold())
        for part in re.split(r"(\d+)", name)
    ]
    return [*parts, (2, 0, name)]
