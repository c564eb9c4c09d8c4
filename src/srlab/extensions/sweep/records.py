"""What a sweep's folder says about itself, ``sweep.json``, and about each cell, ``cell.json``."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from srlab.atomic_files import atomic_write

__all__ = ["LOCK_NAME", "Cell", "Sweep", "cell_name", "identity", "newest_sweep", "read_cells", "short_keys"]

_SWEEP_FILE = "sweep.json"
_CELL_FILE = "cell.json"
LOCK_NAME = ".cell.lock"

# States that a later call leaves as they are.
_SETTLED = ("finished", "over_latency_limit")

# Beyond this, file systems and people lose track; a hash keeps what is cut off apart.
_LONGEST_NAME = 100


@dataclass(kw_only=True)
class Sweep:
    """One sweep, as its newest call was typed."""

    folder: Path
    script: str
    """Absolute path of the program that each cell runs."""
    command: list[str]
    config_name: str
    overrides: list[str]
    """Of the configuration, as typed; where and how cells run is left out."""
    forwarded: list[str]
    """Overrides of Hydra itself that each cell gets, too."""
    swept: dict[str, list[str]]
    """Keys with several values, and these."""
    launcher: str
    sweeper: str
    started: str
    commit: str | None
    call: str
    """Sets one call of the command apart from the next: what is meant for another is ignored."""

    @property
    def lock(self) -> Path:
        """Held for the length of a call."""
        return self.folder / ".sweep.lock"

    @property
    def stop_mark(self) -> Path:
        """Where a call asks its cells to stop."""
        return self.folder / ".stop"

    def exists(self) -> bool:
        """Whether the folder holds a sweep already."""
        return (self.folder / _SWEEP_FILE).is_file()

    def write(self) -> None:
        """Into the sweep's folder, whole or not at all."""
        content = asdict(self)
        del content["folder"]
        _write_json(self.folder / _SWEEP_FILE, content)

    @classmethod
    def read(cls, folder: Path) -> "Sweep":
        """The record in ``folder``.

        Raises:
            OSError: there is none.
            ValueError: it is damaged.
        """
        content = json.loads((folder / _SWEEP_FILE).read_text())
        try:
            return cls(folder=folder, **content)
        except TypeError as error:
            raise ValueError(f"{folder / _SWEEP_FILE} is no record of a sweep: {error}") from error

    def resembles(self, other: "Sweep") -> bool:
        """Whether both have the same cells, in whatever order their overrides were typed."""
        return _question(self) == _question(other)


def _question(sweep: Sweep) -> tuple[str, str, str, frozenset[str]]:
    return sweep.script, sweep.config_name, sweep.sweeper, frozenset(sweep.overrides)


@dataclass(kw_only=True)
class Cell:
    """One cell of a sweep: what it is, how it stands and how it came there."""

    name: str
    overrides: list[str]
    swept: dict[str, str]
    state: str = "running"
    """``running``, ``finished``, ``failed``, ``stopped`` or ``over_latency_limit``."""
    exit_status: int | None = None
    attempts: list[dict[str, Any]] = field(default_factory=list)
    objective: float | None = None
    message: str | None = None
    """The last lines that a failed cell printed."""

    @property
    def is_settled(self) -> bool:
        """Whether later calls leave it as it is."""
        return self.state in _SETTLED

    def is_of(self, call: str) -> bool:
        """Whether its last attempt belongs to that call of the sweep."""
        return bool(self.attempts) and self.attempts[-1]["call"] == call

    def lock(self, sweep: Path) -> Path:
        """Held by whoever runs the cell, and by its process."""
        return sweep / self.name / LOCK_NAME

    def write(self, sweep: Path) -> None:
        """Into the cell's folder below ``sweep``."""
        _write_json(sweep / self.name / _CELL_FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Cell | None":
        """The record in ``folder``; None without one.

        Raises:
            ValueError: it is damaged.
        """
        try:
            content = json.loads((folder / _CELL_FILE).read_text())
        except FileNotFoundError:
            return None
        try:
            return cls(**content)
        except TypeError as error:
            raise ValueError(f"{folder / _CELL_FILE} is no record of a cell: {error}") from error


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n")


def identity(overrides: Sequence[str]) -> frozenset[str]:
    """What makes a cell this cell: its overrides in whatever order."""
    return frozenset(overrides)


def read_cells(sweep: Path) -> dict[frozenset[str], Cell]:
    """Every cell below ``sweep`` by its identity, those that were started first coming first."""
    found = [cell for folder in sorted(sweep.glob("*/")) if (cell := Cell.read(folder)) is not None]
    found.sort(key=lambda cell: [attempt["started"] for attempt in cell.attempts[:1]])
    return {identity(cell.overrides): cell for cell in found}


def newest_sweep(root: Path, wanted: Sweep) -> Sweep | None:
    """The newest sweep below ``root`` that has the same cells as ``wanted``."""
    same = [sweep for sweep in _sweeps(root) if sweep.resembles(wanted)]
    return max(same, key=lambda sweep: sweep.started, default=None)


def _sweeps(root: Path) -> Iterator[Sweep]:
    for path in root.glob(f"*/{_SWEEP_FILE}"):
        with suppress(ValueError):  # another program's, or of another version of this one: no candidate
            yield Sweep.read(path.parent)


def cell_name(swept: Mapping[str, str], *, distinct: Sequence[str] | None = None) -> str:
    """A folder's name that says what sets the cell apart: ``n_share-3_window_sizes-4-8-16``.

    Args:
        swept: the cell's value of each swept key, in the order in which they shall be named.
        distinct: overrides that a short hash keeps apart; None where the values alone do.
    """
    labels = short_keys(list(swept))
    parts = [f"{labels[key]}-{_file_safe(value)}".rstrip("-") for key, value in swept.items()]
    name = "_".join(parts) or "cell"
    if distinct is None and len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256("\n".join(sorted(distinct or parts)).encode()).hexdigest()[:8]
    return f"{name[: _LONGEST_NAME - 9].rstrip('-_.')}-{digest}"


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each key, or as many of its parts as tell it from the others."""
    plain = {key: key.lstrip("+~").replace("/", ".").split("@")[0].split(".") for key in keys}

    def label(key: str) -> str:
        for length in range(1, len(plain[key])):
            ending = plain[key][-length:]
            if sum(parts[-length:] == ending for parts in plain.values()) == 1:
                return ".".join(ending)
        return ".".join(plain[key])

    return {key: label(key) for key in keys}


def _file_safe(value: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+]+", "-", re.sub(r"^-(?=[\d.])", "minus", value)).strip("-.")
