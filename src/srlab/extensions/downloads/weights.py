"""Trained networks by the catalogue's names: downloaded on request, found by ``load_model``."""

from pathlib import Path

from srlab.extensions.downloads.catalogue import RemoteFile, weights
from srlab.extensions.downloads.places import downloads_folder
from srlab.extensions.downloads.transfer import Report, fetch, is_complete


def download_weights(name: str, *, report: Report) -> Path:
    """The file of that network, downloaded unless it is there.

    Raises:
        ValueError: an unknown name; for the rest see :func:`srlab.extensions.downloads.transfer.fetch`.
    """
    return fetch(find_weights(name), downloads_folder(), report=report)


def find_weights(name: str) -> RemoteFile:
    """The catalogue's entry.

    Raises:
        ValueError: there is none.
    """
    known = weights()
    if name not in known:
        raise ValueError(f"no weights {name!r} in the catalogue; choose from {', '.join(known)}")
    return known[name]


def downloaded(name: str) -> Path | None:
    """The file of a network of the catalogue; None if that is none of its names. Nothing is downloaded.

    Raises:
        FileNotFoundError: it is one, and was not downloaded.
    """
    remote, folder = weights().get(name), downloads_folder()
    if remote is None:
        return None
    if not is_complete(remote, folder):
        raise FileNotFoundError(
            f"{name} ({remote.what}) is not in {folder}; download it with: srlab download {name}"
        )
    return folder / remote.file
