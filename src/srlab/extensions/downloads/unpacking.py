"""Unpacks folders of untrusted zip and tar archives; nothing is written elsewhere."""

import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

_DRIVE = re.compile(r"^[A-Za-z]:")


class _Entry(NamedTuple):
    """A regular file of an archive."""

    path: PurePosixPath
    size: int
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folders: Mapping[str, str], root: Path) -> list[Path]:
    """Write ``folders`` of a zip or tar archive below ``root``; each appears complete or not at all.

    Args:
        archive: zip, or tar with any compression that Python reads.
        folders: {folder of the archive: its place below ``root``}; places that exist are left as they are.
        root: created if it is missing.

    Returns:
        The new folders.

    Raises:
        ValueError: no such archive, an entry that is a link or lies outside, or a folder that is not in it.
        OSError: the disk has too little room.
    """
    wanted = {PurePosixPath(name): root / place for name, place in folders.items()}
    wanted = {name: place for name, place in wanted.items() if not place.exists()}
    waiting = root / f".{archive.name}.unpacking"
    shutil.rmtree(waiting, ignore_errors=True)
    try:
        with _entries(archive) as entries:
            chosen = [(entry, name) for entry in entries for name in wanted if name in entry.path.parents]
            _require(archive, wanted, [name for _, name in chosen])
            root.mkdir(parents=True, exist_ok=True)
            _require_space(root, sum(entry.size for entry, _ in chosen), archive)
            for entry, _ in chosen:
                _write(entry, waiting / entry.path)
        for name, place in wanted.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            (waiting / name).rename(place)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise ValueError(f"{archive} is damaged or no zip or tar archive ({error}); delete it") from error
    finally:
        shutil.rmtree(waiting, ignore_errors=True)
    return list(wanted.values())


@contextmanager
def _entries(archive: Path) -> Iterator[list[_Entry]]:
    """All regular files, once every entry is known to be harmless."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            yield [
                _Entry(_inside(archive, info.filename), info.file_size, partial(opened.open, info))
                for info in opened.infolist()
                if _is_file(archive, info.filename, is_folder=info.is_dir(), mode=info.external_attr >> 16)
            ]
        return
    with tarfile.open(archive) as opened:
        members = opened.getmembers()
        if link := next((each for each in members if not (each.isreg() or each.isdir())), None):
            raise ValueError(
                f"{archive}: {link.name} is a link or device; nothing of the archive is unpacked"
            )
        yield [
            _Entry(_inside(archive, member.name), member.size, partial(opened.extractfile, member))
            for member in members
            if _is_file(archive, member.name, is_folder=member.isdir(), mode=0)
        ]


def _is_file(archive: Path, name: str, *, is_folder: bool, mode: int) -> bool:
    """False for folders, which appear with their files; raises for what is neither.

    ``mode`` is that of Unix; archives of other systems have 0.
    """
    _inside(archive, name)
    kind = stat.S_IFMT(mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ValueError(f"{archive}: {name} is a link or device; nothing of the archive is unpacked")
    return not is_folder


def _inside(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or _DRIVE.match(name):
        raise ValueError(f"{archive}: {name!r} lies outside of the archive; nothing of it is unpacked")
    return path


def _require(archive: Path, wanted: Mapping[PurePosixPath, Path], found: list[PurePosixPath]) -> None:
    if missing := [str(name) for name in wanted if name not in found]:
        raise ValueError(
            f"{archive} does not hold {', '.join(missing)}, as the catalogue says; unpack it by hand "
            f"to {', '.join(map(str, wanted.values()))}"
        )


def _require_space(root: Path, needed: int, archive: Path) -> None:
    free = shutil.disk_usage(root).free
    if needed > free:
        raise OSError(
            f"{archive.name} unpacks to {needed / 2**20:.0f} MiB, {root} has {free / 2**20:.0f} MiB free; "
            "make room, or choose another folder with --to or SRLAB_DATA"
        )


def _write(entry: _Entry, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    source = entry.open()
    assert source is not None  # a regular file
    with source, path.open("wb") as stream:
        shutil.copyfileobj(source, stream, 1 << 20)
