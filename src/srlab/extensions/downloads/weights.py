"""Downloads of networks, and of files for losses and metrics, by their names in the catalogue."""

from pathlib import Path

from srlab.extensions.downloads.catalogue import RemoteFile, features, weights
from srlab.extensions.downloads.places import downloads_folder
from srlab.extensions.downloads.transfer import Report, fetch, is_complete
from srlab.official_files import official_folder


def download_weights(name: str, *, report: Report) -> Path:
    """The file of that name, downloaded unless it is there.

    Raises:
        ValueError: an unknown name; for the rest see :func:`srlab.extensions.downloads.transfer.fetch`.
    """
    remote = find_weights(name)
    return fetch(remote, folder_of(remote), report=report)


def folder_of(remote: RemoteFile) -> Path:
    """Where a file belongs: what losses and metrics read is where torchvision would keep it."""
    return official_folder() if remote.name in features() else downloads_folder()


def find_weights(name: str) -> RemoteFile:
    """The catalogue's entry.

    Raises:
        ValueError: there is none.
    """
    known = {**weights(), **features()}
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
