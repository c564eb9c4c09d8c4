"""The sweep that a ``-m`` command starts or resumes, and its cells."""

import itertools
import re
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from srlab.app.launch import program
from srlab.extensions.sweep.records import Sweep, newest_sweep, now
from srlab.runs.contract import SWEEP_FILE
from srlab.runs.provenance import source_commit

# Overrides of Hydra that concern the sweep and not its cells.
_OF_THE_SWEEP = re.compile(r"[+~]*hydra([./](sweep|sweeper|launcher|callbacks|mode)\b|\.run\.dir)")


def requested_sweep(config: DictConfig, config_name: str) -> Sweep:
    """The sweep that the command line asks for, with a new call.

    It is the newest one with the same cells, unless ``hydra.sweep.dir`` names a folder.

    Raises:
        ValueError: the folder holds another program's sweep, or a cell could not run.
    """
    hydra = config.hydra
    script, verb = Path(sys.argv[0]).resolve(), "evaluate" if config_name == "evaluate" else "train"
    if not script.is_file():
        raise ValueError(f"each cell is a process that runs {script}, which does not exist")
    last = _last_overrides(config).items()
    swept = {key: _values(override) for key, override in last if override.is_sweep_override()}
    _check(hydra.overrides.task, swept)
    sweep = Sweep(
        folder=Path(hydra.sweep.dir),
        script=str(script),
        command=[*program(verb), *sys.argv[1:]],
        config_name=config_name,
        overrides=list(hydra.overrides.task),
        forwarded=[override for override in hydra.overrides.hydra if not _OF_THE_SWEEP.match(override)],
        swept=swept,
        launcher=hydra.runtime.choices["hydra/launcher"],
        sweeper=hydra.runtime.choices["hydra/sweeper"],
        started=now(),
        commit=source_commit(),
        call=uuid.uuid4().hex,
    )
    if not any(override.startswith("hydra.sweep.dir=") for override in hydra.overrides.hydra):
        older = newest_sweep(sweep.folder.parent, sweep)
    else:
        older = Sweep.read(sweep.folder) if (sweep.folder / SWEEP_FILE).is_file() else None
    if older is not None:
        _continue(sweep, older)
    return sweep


def _continue(sweep: Sweep, older: Sweep) -> None:
    """Move ``sweep`` to the folder of ``older``, with the values of both."""
    if (older.script, older.config_name) != (sweep.script, sweep.config_name):
        raise ValueError(
            f"{older.folder} holds a sweep of {older.script}, configuration {older.config_name}: name "
            "another folder with hydra.sweep.dir=…"
        )
    sweep.folder, sweep.started = older.folder, older.started
    for key, values in older.swept.items():
        sweep.swept[key] = list(dict.fromkeys([*sweep.swept.get(key, []), *values]))


def _check(overrides: Sequence[str], swept: Mapping[str, Sequence[str]]) -> None:
    for override in overrides:
        if override.lstrip("+~").partition("=")[0] in ("resume", "rerun"):
            raise ValueError(
                f"{override} names one run, but a sweep has many: run the sweep's command again to resume "
                "it, or start its cells from a trained network with initial_weights=RUN_OR_FILE"
            )
    loader = GlobalHydra.instance().config_loader()
    # a search would find out at one of its trials, hours later
    for key, values in swept.items():
        options = loader.get_group_options(key, config_name=None, overrides=[])
        unknown = [value for value in values if value not in options and value.isidentifier()]
        if options and unknown:
            raise ValueError(f"{key} has no choice {', '.join(unknown)}; choose from {', '.join(options)}")


def planned_cells(config: DictConfig) -> list[list[str]] | None:
    """Overrides of every cell in order, as Hydra's basic sweeper makes them; None for a search."""
    if config.hydra.runtime.choices["hydra/sweeper"] != "basic":
        return None
    axes = [[f"{key}={value}" for value in _values(each)] for key, each in _last_overrides(config).items()]
    return [list(cell) for cell in itertools.product(*axes)]


def _last_overrides(config: DictConfig) -> dict[str, Override]:
    """The last override of each key; those of the sweeper's configuration come before the typed ones."""
    parameters = config.hydra.sweeper.get("params") or {}
    lines = [*(f"{key}={value}" for key, value in parameters.items()), *config.hydra.overrides.task]
    parsed = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(lines)
    return {override.get_key_element(): override for override in parsed}


def _values(override: Override) -> list[str]:
    """The values of an override; a range to search is one value."""
    if override.is_discrete_sweep():
        return list(override.sweep_string_iterator())
    if override.is_sweep_override():
        return [str(override.input_line).partition("=")[2]]
    return [override.get_value_element_as_str()]
