"""What a ``-m`` command asks for: which sweep it begins or goes on with, and which cells that has."""

import re
import sys
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from srlab.extensions.sweep.devices import jobs_at_once
from srlab.extensions.sweep.records import Sweep, identity, newest_sweep
from srlab.runs.provenance import source_commit

__all__ = ["cells_at_once", "planned_cells", "this_sweep"]

# What concerns the sweep and not its cells.
_OF_THE_SWEEP = re.compile(r"[+~]*hydra([./](sweep|sweeper|launcher|callbacks|mode)\b|\.run\.dir)")


def this_sweep(config: DictConfig, config_name: str) -> Sweep:
    """The sweep that the command line means, about to be called once more.

    The newest one with the same cells is gone on with unless ``hydra.sweep.dir`` names a folder.

    Raises:
        ValueError: the folder holds another program's sweep, or the command asks for what cells cannot have.
    """
    hydra = config.hydra
    typed = list(hydra.overrides.task)
    refused = next((override for override in typed if _key(override) in ("resume", "rerun")), None)
    if refused is not None:
        raise ValueError(
            f"{refused} names one run, and a sweep has many: type the sweep's own command again to go on "
            "with it, or start its cells from a network with initial_weights=RUN_OR_FILE"
        )
    swept = _swept(config)
    _check_choices(swept)
    sweep = Sweep(
        folder=Path(hydra.sweep.dir),
        script=_program(),
        command=sys.argv[:],
        config_name=config_name,
        overrides=typed,
        forwarded=[override for override in hydra.overrides.hydra if not _OF_THE_SWEEP.match(override)],
        swept=swept,
        launcher=hydra.runtime.choices["hydra/launcher"],
        sweeper=hydra.runtime.choices["hydra/sweeper"],
        started=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        commit=source_commit(),
        call=uuid.uuid4().hex,
    )
    if any(_key(override) == "hydra.sweep.dir" for override in hydra.overrides.hydra):
        older = Sweep.read(sweep.folder) if sweep.exists() else None
    else:
        older = newest_sweep(sweep.folder.parent, sweep)
    return _continued(sweep, older) if older is not None else sweep


def _continued(sweep: Sweep, older: Sweep) -> Sweep:
    if (older.script, older.config_name) != (sweep.script, sweep.config_name):
        raise ValueError(
            f"{older.folder} holds a sweep of {older.script}, configuration {older.config_name}: name "
            "another folder with hydra.sweep.dir=…"
        )
    sweep.folder, sweep.started = older.folder, older.started
    for key, values in older.swept.items():
        known = sweep.swept.setdefault(key, [])
        known += [value for value in values if value not in known]
    return sweep


def _program() -> str:
    script = Path(sys.argv[0]).resolve()
    if not script.is_file():
        raise ValueError(f"cells are processes that run {script}, which does not exist")
    return str(script)


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _parsed(config: DictConfig) -> list[Override]:
    """Overrides of a cell, those that a sweeper's configuration adds coming first."""
    parameters = config.hydra.sweeper.get("params") or {}
    lines = [*(f"{key}={value}" for key, value in parameters.items()), *config.hydra.overrides.task]
    return OverridesParser.create(config_loader=_running().config_loader).parse_overrides(lines)


def _running() -> Hydra:
    running = GlobalHydra.instance().hydra
    assert running is not None
    return running


def _swept(config: DictConfig) -> dict[str, list[str]]:
    """Keys of several values with these; a range that is searched stands for itself."""
    swept = {}
    for override in _parsed(config):
        key = override.get_key_element()
        if override.is_discrete_sweep():
            swept[key] = list(override.sweep_string_iterator())
        elif override.is_sweep_override():
            swept[key] = [override.input_line.partition("=")[2]]  # type: ignore[union-attr]
        else:
            swept.pop(key, None)  # typed once more, and fixed
    return swept


def _check_choices(swept: Mapping[str, Sequence[str]]) -> None:
    """Hydra would end the whole sweep at the cell whose choice of a group does not exist.

    Raises:
        ValueError: naming it and those that do.
    """
    loader = _running().config_loader
    for key, values in swept.items():
        options = loader.get_group_options(key, config_name=None, overrides=[])
        unknown = [value for value in values if value not in options and value.isidentifier()]
        if options and unknown:
            raise ValueError(f"{key} has no choice {', '.join(unknown)}; choose from {', '.join(options)}")


def planned_cells(config: DictConfig) -> list[list[str]] | None:
    """Overrides of every cell, in order; None where a search decides as it goes."""
    if config.hydra.runtime.choices["hydra/sweeper"] != "basic":
        return None
    overrides = _parsed(config)
    (cells,) = BasicSweeper.split_arguments(overrides, None)
    for cell in cells:
        assert len(identity(cell)) == len(cell), "two overrides of one cell are equal"
    return cells


def cells_at_once(config: DictConfig) -> int | None:
    """How many cells run side by side on this machine; None where a scheduler decides."""
    launcher = config.hydra.runtime.choices["hydra/launcher"]
    if launcher == "basic":
        return 1
    if launcher != "joblib":
        return None
    return jobs_at_once(int(config.hydra.launcher.n_jobs))
