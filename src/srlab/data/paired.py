"""Pairs of HR and LR folders: finds the LR file of each HR file by its name."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from srlab.data.folder_scan import images_below
from srlab.data.low_resolution import pair_key
from srlab.data.sources import ImageFile, ImageSet, Part, Roots, find_images, folders_of, split_images
from srlab.terminal.names import some


def paired_images(
    hr_root: Roots,
    lr_root: Roots,
    *,
    scale: int,
    lr_name: str | None = None,
    part: Part = "all",
    options: tuple[str, str] = ("data.hr_root", "data.lr_root"),
) -> ImageSet:
    """HR images with the LR file of each, from one pair of folders or several.

    Files lie at the same place below their roots. An LR file is named as its HR image, or differs in a scale
    at its end (``0001x4``, ``0001_x4``) and in a mark such as ``LR``, ``LRBI``, ``HR`` or ``GT``
    (``baby_LRBI_x2``, ``Canon_001_LR4`` of ``Canon_001_HR``). Both roots may be one folder if the names say
    which file is LR. A subfolder ``X{scale}`` of the LR folder is preferred to the folder.

    Args:
        hr_root: folder, or several.
        lr_root: folder, or as many.
        scale: HR side / LR side.
        lr_name: BasicSR's ``filename_tmpl``, such as ``{}x4``: an LR file's name without suffix, ``{}`` for
            the HR file's; None for the rules above.
        part: as in ``folder_images``.
        options: where the roots were set, for messages.

    Raises:
        ValueError: a folder is absent or empty, or a file of either kind has no counterpart or two.
    """
    if lr_name is not None and "{}" not in lr_name:
        raise ValueError(
            f"data.lr_name must hold {{}} for the HR file's name, as {{}}x4 does, got {lr_name!r}"
        )
    hr_folders, lr_folders = folders_of(hr_root), folders_of(lr_root)
    if not hr_folders or len(hr_folders) != len(lr_folders):
        raise ValueError(
            f"{options[0]} names {len(hr_folders)} folder(s) and {options[1]} {len(lr_folders)}; give each "
            "HR folder its LR folder, in the same order"
        )
    files: list[ImageFile] = []
    lr_files: dict[str, Path] = {}
    for number, (hr_folder, lr_folder) in enumerate(zip(hr_folders, lr_folders, strict=True), start=1):
        prefix = f"{number}-{hr_folder.name}/" if len(hr_folders) > 1 else ""
        found = find_images(hr_folder, remedy=f"check {options[0]}")
        partners = _partners(found, hr_folder, _of_scale(lr_folder, scale), lr_name, options[1])
        files += [ImageFile(prefix + file.name, file.path) for file in found]
        lr_files |= {prefix + name: path for name, path in partners.items()}
    name = "+".join(folder.name for folder in hr_folders)
    chosen = split_images(files, part=part, roots=hr_folders, remedy="data.validation_hr_root=PATH")
    return ImageSet("held_out" if part == "held_out" else name, tuple(chosen), lr_files=lr_files)


def _of_scale(folder: Path, scale: int) -> Path:
    of_scale = (folder / f"{letter}{scale}" for letter in "Xx")
    return next((path for path in of_scale if path.is_dir()), folder)


def _partners(
    hr_files: Sequence[ImageFile], hr_folder: Path, lr_folder: Path, lr_name: str | None, option: str
) -> Mapping[str, Path]:
    """The LR file of each HR file, by the HR file's name."""
    if not lr_folder.is_dir():
        raise ValueError(f"the LR folder {lr_folder} is not a folder; check {option}")
    exact = images_below(lr_folder, other_than={file.path.resolve() for file in hr_files})
    by_key: dict[str, list[Path]] = {}
    for name, path in exact.items():
        by_key.setdefault(pair_key(name), []).append(path)
    partners: dict[str, Path] = {}
    for file in hr_files:
        above, _, stem = file.name.rpartition("/")
        wanted = (f"{above}/" if above else "") + (lr_name or "{}").replace("{}", stem)
        candidates = [exact[wanted]] if wanted in exact else []
        if not candidates and lr_name is None:
            candidates = by_key.get(pair_key(file.name), [])
        if len(candidates) > 1:
            raise ValueError(
                f"{len(candidates)} LR files may be that of {file.path}: {some(candidates)}; leave one, "
                "or set data.lr_name, such as data.lr_name={}x4"
            )
        if candidates:
            partners[file.name] = candidates[0]
    _check_pairs(hr_files, exact, partners, (hr_folder, lr_folder))
    return partners


def _check_pairs(
    hr_files: Sequence[ImageFile],
    lr_files: Mapping[str, Path],
    partners: Mapping[str, Path],
    folders: tuple[Path, Path],
) -> None:
    used: dict[Path, str] = {}
    for name, path in partners.items():
        if path in used:
            raise ValueError(f"the LR file {path} would be that of {used[path]} and of {name}; rename one")
        used[path] = name
    missing = [file.path.name for file in hr_files if file.name not in partners]
    left = [path.name for path in lr_files.values() if path not in used]
    faults = [f"{folders[0]} holds {len(hr_files)} HR image(s) and {folders[1]} {len(lr_files)} LR file(s)"]
    for names, fault in ((missing, "HR without LR"), (left, "LR without HR")):
        if names:
            faults.append(f"{len(names)} {fault} ({some(names)})")
    if len(faults) > 1:
        remedy = "add or remove files, or say how LR files are named, such as data.lr_name={}x4"
        raise ValueError("; ".join([*faults, remedy]))
