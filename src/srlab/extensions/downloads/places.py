"""The folder of downloads, below the cache of ``conf/paths``."""

import os
from pathlib import Path

from srlab.locks import is_held


def data_folder() -> Path:
    """The folder of the data sets, as ``paths.data`` of a run: SRLAB_DATA, or ``data``."""
    return Path(os.environ.get("SRLAB_DATA") or "data").expanduser()


def downloads_folder() -> Path:
    """Files of trained networks, and archives until they are unpacked: ``downloads`` of SRLAB_CACHE."""
    cache = os.environ.get("SRLAB_CACHE")
    return (Path(cache).expanduser() if cache else data_folder() / ".srlab") / "downloads"


def clear_downloads() -> int:
    """Delete all files of :func:`downloads_folder`, partial ones included; returns the bytes.

    Files that a process is downloading stay.
    """
    folder, freed = downloads_folder(), 0
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = path.name.removeprefix(".").removesuffix(".json").removesuffix(".partial")
        if path.is_file() and path.suffix != ".lock" and not is_held(folder / f".{name}.lock"):
            freed += path.stat().st_size
            path.unlink()
    return freed
