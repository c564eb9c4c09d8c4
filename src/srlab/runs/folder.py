"""Reading the files of a run; one process at a time writes them."""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from srlab.locks import holder, is_held, take_within
from srlab.runs import contract

LOCK_NAME = ".running"

# A process that only asks whether a run is training holds the lock for an instant.
_PATIENCE_S = 2.0


@dataclass(frozen=True)
class RunFolder:
    """A folder that ``train.py`` writes. Readers return None for a file that does not exist.

    They raise ``ValueError``, naming the file, where one is damaged.
    """

    path: Path

    @classmethod
    def containing(cls, path: Path) -> "RunFolder | None":
        """The run that ``path`` names, by its folder or by one of its checkpoints."""
        folders = (path, path.parent, path.parent.parent)
        return next((cls(folder) for folder in folders if (folder / contract.CONFIG_FILE).is_file()), None)

    @property
    def last_checkpoint(self) -> Path:
        """The newest state."""
        return self.path / contract.CHECKPOINTS_FOLDER / contract.LAST_CHECKPOINT

    @property
    def is_finished(self) -> bool:
        """Whether the run has reached its last step and written its result."""
        return (self.path / contract.SUMMARY_FILE).exists()

    @property
    def is_running(self) -> bool:
        """Whether a process of this machine, or of another that shares the file system, trains in it."""
        return is_held(self.path / LOCK_NAME)

    def checkpoints(self) -> list[Path]:
        """Our checkpoints, and those that Lightning leaves when SLURM requeues a job."""
        ours = self.last_checkpoint.parent.glob("*.ckpt")
        return sorted([*ours, *self.path.glob("hpc_ckpt_*.ckpt")])

    def config(self) -> dict[str, Any] | None:
        """Content of ``config.yaml``, interpolations as text."""
        return _mapping(self.path / contract.CONFIG_FILE, yaml.safe_load)

    def summary(self) -> dict[str, Any] | None:
        """Content of ``summary.json``."""
        return read_json(self.path / contract.SUMMARY_FILE)

    def costs(self) -> dict[str, Any] | None:
        """Content of ``costs.json``."""
        return read_json(self.path / contract.COSTS_FILE)

    def metrics(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Rows of ``metrics.csv``: a step and what was logged at it.

        Rows before a damaged one are yielded first.
        """
        path = self.path / contract.METRICS_FILE
        if not path.exists():
            return
        with path.open(newline="") as file:
            try:
                for row in csv.DictReader(file):
                    step = int(float(row.pop(contract.STEP)))
                    yield step, {key: float(text) for key, text in row.items() if text}
            except (ValueError, KeyError, TypeError, csv.Error) as error:
                raise ValueError(f"{path} is damaged: {error}") from error


def read_json(path: Path) -> dict[str, Any] | None:
    """Content of a record; None if the file does not exist.

    Raises:
        ValueError: it is damaged, or not a mapping.
    """
    return _mapping(path, json.loads)


def _mapping(path: Path, parse: Callable[[str], Any]) -> dict[str, Any] | None:
    try:
        content = parse(path.read_text())
    except FileNotFoundError:
        return None
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} does not contain a mapping")
    return content


@contextmanager
def locked_run(folder: Path) -> Iterator[None]:
    """Create ``folder`` and keep other processes out of it until the block ends.

    Raises:
        ValueError: another process holds it; the message names that process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_NAME
    lease = take_within(path, _PATIENCE_S)
    if lease is None:
        raise ValueError(
            f"{folder} is being written by {holder(path)}: wait for it or stop it, or give this run another "
            "folder (hydra.run.dir=…)"
        )
    with lease:
        yield
