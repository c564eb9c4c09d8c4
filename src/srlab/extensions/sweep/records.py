"""The records in a sweep's folder: ``sweep.json``, ``cell.json`` of each cell, and the request to stop."""

import hashlib
import json
import re
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from srlab.locks import is_held
from srlab.runs.contract import CELL_FILE, SWEEP_FILE
from srlab.runs.records import write_json

#: Lock file of a cell, held by the process that runs it.
LOCK_NAME = ".cell.lock"

# Folder names are cut to this length; a hash then keeps them apart.
_MAX_NAME = 100

R = TypeVar("R", bound="_Record")


@dataclass(kw_only=True)
class _Record:
    folder: Path

    FILE: ClassVar[str]

    def write(self) -> None:
        """Write the record into its folder."""
        content = {key: value for key, value in asdict(self).items() if key != "folder"}
        write_json(self.folder / self.FILE, content)

    @classmethod
    def read(cls: type[R], folder: Path) -> R:
        """Read the record in ``folder``.

        Raises:
            OSError: there is none.
            ValueError: it is damaged.
        """
        content = json.loads((folder / cls.FILE).read_text())
        known = {each.name: content[each.name] for each in fields(cls) if each.name in content}
        try:
            return cls(**known | {"folder": folder})
        except TypeError as error:
            raise ValueError(f"{folder / cls.FILE} is damaged: {error}") from error


@dataclass(kw_only=True)
class StopRequest(_Record):
    """A request to stop the cells of a call; as a file it reaches cells on other machines, too."""

    FILE = ".stop"

    call: str
    signal: int
    """The signal that each cell gets."""
    times: int
    """1: save and stop; 2: abort."""


@dataclass(kw_only=True)
class Sweep(_Record):
    """A sweep, as its latest call was typed."""

    FILE = SWEEP_FILE

    script: str
    """Absolute path of the program that each cell runs."""
    command: list[str]
    config_name: str
    overrides: list[str]
    """Overrides of the configuration as typed, without those that say where and how cells run."""
    forwarded: list[str]
    """Overrides of Hydra's own configuration that each cell gets."""
    swept: dict[str, list[str]]
    """Keys with several values, and these values."""
    launcher: str
    sweeper: str
    started: str
    commit: str | None
    call: str
    """Identifies a call of the command: requests to stop are for one call only."""

    @property
    def lock(self) -> Path:
        """Lock file, held by the first process during a call."""
        return self.folder / ".sweep.lock"

    @property
    def is_local(self) -> bool:
        """Whether cells end with the call that started them; jobs in a cluster's queue outlive it."""
        return self.launcher in ("basic", "joblib")

    def cell(self, overrides: Sequence[str], known: Mapping[frozenset[str], "Cell"]) -> "Cell":
        """The cell with these overrides: one of ``known``, or a new one with a name of its own."""
        if cell := known.get(frozenset(overrides)):
            return cell
        values = dict(each.split("=", 1) for each in overrides if "=" in each)
        swept = {key: values[key] for key in self.swept if key in values}
        name = cell_name(swept)
        if name in {cell.name for cell in known.values()}:
            name = cell_name(swept, distinct=overrides)
        return Cell(folder=self.folder / name, overrides=list(overrides), swept=swept)

    def stop_request(self) -> StopRequest | None:
        """The request to stop that holds for the cells of this call.

        They also stop when a newer call has replaced theirs; local ones when their call was killed.
        """
        with suppress(FileNotFoundError):
            request = StopRequest.read(self.folder)
            if request.call == self.call:
                return request
        is_replaced = Sweep.read(self.folder).call != self.call
        if is_replaced or (self.is_local and not is_held(self.lock)):
            return StopRequest(folder=self.folder, call=self.call, signal=signal.SIGTERM, times=1)
        return None

    def is_stopped(self) -> bool:
        """Whether the cells of this call should stop, or not start."""
        return self.stop_request() is not None


@dataclass(kw_only=True)
class Cell(_Record):
    """A cell of a sweep with its state and its attempts."""

    FILE = CELL_FILE

    overrides: list[str]
    swept: dict[str, str]
    state: str = "stopped"
    """``running``, ``finished``, ``failed``, ``stopped`` or ``over_limit``."""
    exit_status: int | None = None
    attempts: list[dict[str, Any]] = field(default_factory=list)
    objective: float | None = None
    message: str | None = None
    """The last lines that a failed cell printed."""

    def __post_init__(self) -> None:
        if self.state == "over_latency_limit":  # as srlab 0.1.0 called it
            self.state = "over_limit"

    @property
    def name(self) -> str:
        """Name of the cell's folder."""
        return self.folder.name

    @property
    def is_done(self) -> bool:
        """Whether later calls leave the cell alone."""
        return self.state in ("finished", "over_limit")

    @property
    def state_in_words(self) -> str:
        """The state as it is printed."""
        return self.state.replace("_", " ") if self.attempts else "not started"


def read_cells(sweep: Path) -> dict[frozenset[str], Cell]:
    """All cells below ``sweep`` by their overrides, in the order in which they were first started."""
    cells = [Cell.read(path.parent) for path in sorted(sweep.glob(f"*/{CELL_FILE}"))]
    cells.sort(key=lambda cell: [attempt["started"] for attempt in cell.attempts[:1]])
    return {frozenset(cell.overrides): cell for cell in cells}


def newest_sweep(root: Path, wanted: Sweep) -> Sweep | None:
    """The newest sweep below ``root`` with the same cells, in whatever order their overrides were typed."""

    def question(sweep: Sweep) -> tuple[object, ...]:
        return sweep.script, sweep.config_name, sweep.sweeper, frozenset(sweep.overrides)

    same = []
    for path in root.glob(f"*/{SWEEP_FILE}"):
        with suppress(ValueError):  # damaged
            if question(sweep := Sweep.read(path.parent)) == question(wanted):
                same.append(sweep)
    return max(same, key=lambda sweep: sweep.started, default=None)


def now() -> str:
    """The time of day, as records have it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def cell_name(swept: Mapping[str, str], *, distinct: Sequence[str] = ()) -> str:
    """Folder name of a cell, such as ``n_share-3_window_sizes-4-8-16``.

    Args:
        swept: the cell's value of each swept key.
        distinct: the cell's overrides, where the values alone do not make the name unique.
    """
    whole = [key.lstrip("+~").replace("/", ".").partition("@")[0] for key in swept]
    last = [key.rpartition(".")[2] for key in whole]
    # the last part of a key, unless others have the same
    labels = [short if last.count(short) == 1 else key for key, short in zip(whole, last, strict=True)]
    # a rule of its own: existing cells are found by their names
    texts = [re.sub(r"^-(?=[\d.])", "minus", value) for value in swept.values()]
    values = [re.sub(r"[^A-Za-z0-9.+]+", "-", text).strip("-.") for text in texts]
    name = "_".join(f"{label}-{value}".rstrip("-") for label, value in zip(labels, values, strict=True))
    if not distinct and len(name) <= _MAX_NAME:
        return name or "cell"
    digest = hashlib.sha256("\n".join(sorted(distinct or [name])).encode()).hexdigest()[:8]
    return f"{name[: _MAX_NAME - 9].rstrip('-_.') or 'cell'}-{digest}"
