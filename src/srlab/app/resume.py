"""A run's folder: the configuration that it was started with, and going on from it."""

import copy
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException
from yaml import YAMLError

from srlab.app.differing_keys import differing_keys
from srlab.app.known_keys import check_known
from srlab.app.launch import Launch
from srlab.app.own_paths import make_paths_absolute
from srlab.app.presets import configuration_folder
from srlab.app.resume_rule import check_obeyed
from srlab.atomic_files import atomic_write
from srlab.config import TrainConfig
from srlab.extensions.wandb.environment import fix_identity
from srlab.metrics.protocol import ColorSpace, earlier_gray_rule
from srlab.runs.lock import is_running
from srlab.terminal.command_lines import command, typed_override

__all__ = [
    "AUTO",
    "CONFIG_NAME",
    "SUMMARY_NAME",
    "adopted_config",
    "finished_summary",
    "folder_of_run",
    "is_running",
    "load_config",
    "repeated_config",
    "resume_command",
    "resumed_config",
    "run_folder",
    "save_config",
]

CONFIG_NAME = "config.yaml"
SUMMARY_NAME = "summary.json"

#: ``resume=auto``: go on from whatever good state there is, else start anew.
AUTO = "auto"

log = logging.getLogger(__name__)


def folder_of_run(resume: str | None, new_run: str, root: DictConfig) -> str:
    """Folder that a run without ``hydra.run.dir=…`` writes to: the one it goes on with, else a new one.

    ``resume=auto`` looks beside the new folder for unfinished runs of the same configuration that nobody is
    at, and takes the last by name. Names are dates, and a clock may have jumped: among equal configurations
    any choice ends in the same weights.

    Args:
        resume: as typed.
        new_run: the folder of a new run.
        root: the whole configuration as composed, ``hydra`` included.

    Raises:
        OSError: there is no run at ``resume``, or at ``rerun``.
        ValueError: its configuration cannot be read.
    """
    if root.get("rerun"):
        root = copy.deepcopy(root)
        root.paths.name = load_config(run_folder(Path(root.rerun), key="rerun")).paths.name
        new_run = root.paths.new_run
    if not resume:
        return new_run
    if resume != AUTO:
        return str(run_folder(Path(resume)))
    # processes that were started apart must not choose apart: theirs is a folder of a name agreed upon
    if root.get("rerun") or Launch.of().is_one_of_several or Path(new_run).exists():
        return new_run
    return str(_unfinished_like(root, Path(new_run).parent) or new_run)


def _unfinished_like(typed: DictConfig, beside: Path) -> Path | None:
    for config in sorted(beside.glob(f"*/{CONFIG_NAME}"), reverse=True):
        folder = config.parent
        if (folder / SUMMARY_NAME).exists() or is_running(folder):
            continue
        try:
            saved = load_config(folder)
        except ValueError:
            continue  # nobody could go on with that run
        try:
            if not differing_keys(typed, saved):
                return folder
        except InterpolationToMissingValueError:
            return None  # what was typed is incomplete, as the run itself will say
    return None


def run_folder(resume: Path, *, key: str = "resume") -> Path:
    """The folder of the run that ``resume`` names, be it the folder itself or one of its checkpoints.

    Args:
        resume: as typed.
        key: what it was typed for.

    Raises:
        FileNotFoundError: if there is no run at ``resume``.
    """
    for folder in (resume, resume.parent, resume.parent.parent):
        if (folder / CONFIG_NAME).is_file():
            return folder
    raise FileNotFoundError(
        f"{key}={resume}: no run there (a run's folder holds {CONFIG_NAME} and checkpoints/last.ckpt); "
        "name the folder that train.py printed, or one of its checkpoints"
    )


def load_config(folder: Path) -> DictConfig:
    """The configuration that the run in ``folder`` was started with.

    Raises:
        ValueError: the file is damaged, or of a version that had other keys.
    """
    try:
        return _typed(OmegaConf.load(folder / CONFIG_NAME))
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise ValueError(f"{folder / CONFIG_NAME} cannot be read: {error}") from error


def _typed(saved: Any) -> DictConfig:
    """A run's configuration with its types; one that does not say how gray images count keeps its rule."""
    cfg = OmegaConf.merge(OmegaConf.structured(TrainConfig), saved)
    assert isinstance(cfg, DictConfig)
    for protocol in cfg.protocol.values():
        if OmegaConf.is_missing(protocol, "gray"):
            color: ColorSpace | None = protocol.get("color")
            protocol.gray = earlier_gray_rule(color and color.name)
            log.info("%s counts gray images as it did: gray=%s", protocol.name, protocol.gray.name)
    OmegaConf.set_struct(cfg, True)
    return cfg


def finished_summary(folder: Path) -> dict[str, Any] | None:
    """The summary of a run that reached its end; None if it has not, or goes on beyond it."""
    try:
        return json.loads((folder / SUMMARY_NAME).read_text())
    except FileNotFoundError:
        return None


def resume_command(folder: str | Path) -> str:
    """What a user types to resume the run in ``folder``."""
    return command(("python", "train.py"), {"resume": folder})


def save_config(cfg: DictConfig, folder: Path) -> None:
    """Write what the run was started with, atomically.

    What belongs to the moment and the machine (``paths``) and what finds the run at W&B is written as it was
    then. Other interpolations stay, so that a schedule still spans ``trainer.max_steps`` when a resumed run
    changes that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    saved = copy.deepcopy(cfg)
    OmegaConf.resolve(saved.paths)
    if "logger" in saved:
        fix_identity(saved)
    make_paths_absolute(saved)
    with atomic_write(folder / CONFIG_NAME) as partial:
        OmegaConf.save(saved, partial)


def resumed_config(resume: Path, command_line: list[str]) -> DictConfig:
    """The configuration of the run at ``resume`` with single values changed by the command line.

    Args:
        resume: a run's folder or one of its checkpoints.
        command_line: overrides as typed, ``resume=…`` among them.

    Raises:
        ValueError: if an override exchanges a whole group (``model=…``), which would be another run, or
            changes what a resumed run does not obey.
    """
    folder = run_folder(resume)
    cfg = load_config(folder)
    before = copy.deepcopy(cfg)
    for override in _overrides(command_line, "resume", folder):
        _change(cfg, override)
        log.info("resuming with %s", override.input_line)
    check_obeyed(before, cfg, folder)
    with open_dict(cfg):
        cfg.resume = str(resume)
        cfg.paths.run = str(folder)
    return cfg


def repeated_config(typed: DictConfig, command_line: list[str]) -> DictConfig:
    """The configuration of the run at ``typed.rerun`` for a new folder, with single values changed.

    Args:
        typed: the configuration as composed, which says where the new run writes.
        command_line: overrides as typed, ``rerun=…`` among them.

    Raises:
        ValueError: if an override exchanges a whole group, or the scale that everything hangs on.
    """
    folder = run_folder(Path(typed.rerun), key="rerun")
    cfg = load_config(folder)
    for override in _overrides(command_line, "rerun", folder):
        if override.key_or_group == "scale":
            raise ValueError(
                f"rerun repeats the run in {folder}, which is x{cfg.scale}; start a new run instead"
            )
        _change(cfg, override)
    cfg.resume, cfg.rerun = typed.resume, None
    return _in_new_folder(cfg, typed.paths.run)


def adopted_config(saved: DictConfig, folder: Path) -> DictConfig:
    """A saved configuration as Hydra composed it (``--config-dir RUN --config-name config``), typed again.

    Args:
        saved: as composed, with what the command line changed.
        folder: where the new run writes.
    """
    return _in_new_folder(_typed(saved), str(folder))


def _in_new_folder(cfg: DictConfig, folder: str) -> DictConfig:
    """A run of its own: another folder, another run in W&B."""
    cfg.paths.run = cfg.paths.new_run = folder
    for logger in cfg.logger.values():
        if logger is not None and "id" in logger:
            logger.id = None
    return cfg


def _change(cfg: DictConfig, override: Override) -> None:
    """One value; ``+KEY`` may be a new one, ``~KEY`` is taken away.

    Raises:
        ValueError: there is no such key.
    """
    key = override.key_or_group
    if not (override.is_add() or override.is_force_add()):
        check_known(cfg, override)
    if override.is_delete():
        above, _, name = key.rpartition(".")
        node = OmegaConf.select(cfg, above) if above else cfg
        with open_dict(node):
            del node[name]
        return
    OmegaConf.update(
        cfg,
        key,
        override.value(),
        merge=False,
        force_add=override.is_add() or override.is_force_add(),
    )


def _overrides(command_line: list[str], verb: str, folder: Path) -> Iterator[Override]:
    """Those that change the configuration of the run in ``folder``."""
    for override in OverridesParser.create().parse_overrides(command_line):
        key = override.key_or_group
        if key in ("resume", "rerun") or key.startswith("hydra.") or key == "hydra":
            continue
        if (configuration_folder() / key).is_dir():
            raise ValueError(
                f"{verb} goes on with the configuration in {folder / CONFIG_NAME}; {override.input_line} "
                f"would exchange all of {key}: change single values ({key}.KEY=VALUE), or start a new run "
                f"with {typed_override('initial_weights', folder)}"
            )
        yield override
