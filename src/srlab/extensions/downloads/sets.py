"""Data sets by name: downloaded, unpacked to where ``data=`` reads them, and counted."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from srlab.data.known_sets import benchmark_images, div2k_images, flickr2k_images
from srlab.extensions.downloads.catalogue import DataSet, data_sets
from srlab.extensions.downloads.places import downloads_folder
from srlab.extensions.downloads.transfer import Report, fetch, partial_path
from srlab.extensions.downloads.unpacking import unpack
from srlab.locks import locked_work

log = logging.getLogger(__name__)

#: Set to images, and how the images of a folder are found.
IMAGES: Mapping[str, tuple[int, Callable[[str], int]]] = {
    "div2k": (900, lambda root: len(div2k_images(root, 1, 900).files)),
    "flickr2k": (2650, lambda root: len(flickr2k_images(root))),
    "set5": (5, lambda root: len(benchmark_images(root, "Set5").files)),
    "set14": (14, lambda root: len(benchmark_images(root, "Set14").files)),
    "b100": (100, lambda root: len(benchmark_images(root, "B100").files)),
    "urban100": (100, lambda root: len(benchmark_images(root, "Urban100").files)),
    "manga109": (109, lambda root: len(benchmark_images(root, "Manga109").files)),
}


def download_set(name: str, root: Path, *, report: Report) -> bool:
    """Download a set and unpack it below ``root``; archives are deleted once they are unpacked.

    Folders that exist are left as they are; other sets of the same archive are unpacked with it.

    Returns:
        Whether anything was downloaded: False if ``data=`` finds all images already.

    Raises:
        ValueError: an unknown name, a set that is not free to download, or an archive with other contents;
            for the rest see :func:`srlab.extensions.downloads.transfer.fetch`.
        OSError: a connection or the disk.
    """
    chosen = find_set(name)
    if is_there(name, root):
        return False
    if chosen.ask is not None:
        raise ValueError(chosen.ask)
    folder = downloads_folder()
    folder.mkdir(parents=True, exist_ok=True)
    for remote in chosen.archives:
        lock, watched = folder / f".{remote.file}.unpacking.lock", partial_path(remote, folder)
        with locked_work(lock, work=f"download of {remote.file}", watched=watched):
            if any(not (root / place).exists() for place in remote.folders.values()):
                archive = fetch(remote, folder, report=report)
                for new in unpack(archive, remote.folders, root):
                    log.info("unpacked %s", new)
                archive.unlink(missing_ok=True)
    _require_images(name, root)
    return True


def find_set(name: str) -> DataSet:
    """The catalogue's entry; case does not matter.

    Raises:
        ValueError: there is none.
    """
    known = data_sets()
    if name.lower() not in known:
        raise ValueError(f"no data set {name!r} in the catalogue; choose from {', '.join(known)}")
    return known[name.lower()]


def is_there(name: str, root: Path) -> bool:
    """Whether ``data=`` finds all images of the set below ``root``, in any layout that it knows."""
    images, count = IMAGES[name.lower()]
    try:
        return count(str(root)) >= images
    except (ValueError, OSError):
        return False


def _require_images(name: str, root: Path) -> None:
    images, count = IMAGES[name.lower()]
    if (found := count(str(root))) < images:
        raise ValueError(
            f"{root} has {found} of the {images} images of {name}; delete its folder and try again"
        )
