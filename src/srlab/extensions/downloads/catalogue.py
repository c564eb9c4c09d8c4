"""The packaged list of what can be downloaded: ``catalogue.yaml`` as typed data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file on a server.

    Attributes:
        name: in the catalogue.
        file: its name on the disk.
        size: bytes; None: unknown.
        digest: ``sha256:…`` or ``md5:…``; None: recorded at the first download.
        licence: identifier as the Hugging Face Hub writes it; None: not one of those, see ``terms``.
        source: where the URL and the digest are stated.
        checked: date at which the server answered with these bytes, or ``never``.
        folders: of an archive, to be unpacked, and their places below the folder of the data sets.
    """

    name: str
    file: str
    url: str
    size: int | None
    digest: str | None
    what: str
    made_by: str
    licence: str | None
    terms: str
    source: str
    checked: str
    folders: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One data set: the archives that it is in, or how to ask for it where there is no free download."""

    name: str
    archives: tuple[RemoteFile, ...]
    ask: str | None = None


def weights() -> Mapping[str, RemoteFile]:
    """Files of trained networks, by name."""
    return _read()[0]


def features() -> Mapping[str, RemoteFile]:
    """Files that losses and metrics read, by name."""
    return _read()[2]


def data_sets() -> Mapping[str, DataSet]:
    """Data sets, by name in lower case."""
    return _read()[1]


@cache
def _read() -> tuple[Mapping[str, RemoteFile], Mapping[str, DataSet], Mapping[str, RemoteFile]]:
    text = files("srlab.extensions.downloads").joinpath("catalogue.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    archives = _files(content["archives"])
    sets = {
        name: DataSet(name=name, archives=tuple(archives[each] for each in entry.pop("archives")), **entry)
        for name, entry in content["sets"].items()
    }
    return _files(content["weights"]), sets, _files(content["features"])


def _files(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, RemoteFile]:
    return {name: RemoteFile(name=name, **entry) for name, entry in entries.items()}
