"""A run's folder: the configuration that it was started with, and going on from it."""

import copy
import logging
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from srlab.config import TrainConfig
from srlab.presets import configuration_folder
from srlab.whole_files import whole_file

__all__ = ["CONFIG_NAME", "checkpoint_to_resume", "resumed_config", "run_folder", "save_config"]

CONFIG_NAME = "config.yaml"

log = logging.getLogger(__name__)


def run_folder(resume: Path) -> Path:
    """The folder of the run that ``resume`` names, be it the folder itself or one of its checkpoints.

    Raises:
        FileNotFoundError: if there is no run at ``resume``.
    """
    for folder in (resume, resume.parent, resume.parent.parent):
        if (folder / CONFIG_NAME).is_file():
            return folder
    raise FileNotFoundError(
        f"resume={resume}: no run there (a run's folder holds {CONFIG_NAME} and checkpoints/last.ckpt); "
        "name the folder that train.py printed, or one of its checkpoints"
    )


def checkpoint_to_resume(resume: Path) -> Path:
    """The checkpoint itself, or the run's last one.

    Raises:
        FileNotFoundError: if the run was stopped before it saved anything.
    """
    checkpoint = resume if resume.is_file() else run_folder(resume) / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file():
        raise FileNotFoundError(
            f"resume={resume}: {checkpoint} does not exist: that run ended before its first checkpoint; "
            "start it anew"
        )
    return checkpoint


def save_config(cfg: DictConfig, folder: Path) -> None:
    """Write what the run was started with, atomically.

    What belongs to the moment and the machine (``paths``) is written as it was then. Other interpolations
    stay, so that a schedule still spans ``trainer.max_steps`` when a resumed run changes that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    saved = copy.deepcopy(cfg)
    OmegaConf.resolve(saved.paths)
    for key in ("data", "cache", "run"):
        saved.paths[key] = str(Path(saved.paths[key]).absolute())
    with whole_file(folder / CONFIG_NAME) as partial:
        OmegaConf.save(saved, partial)


def resumed_config(resume: Path, command_line: list[str]) -> DictConfig:
    """The configuration of the run at ``resume`` with single values changed by the command line.

    Args:
        resume: a run's folder or one of its checkpoints.
        command_line: overrides as typed, ``resume=…`` among them.

    Raises:
        ValueError: if an override exchanges a whole group (``model=…``), which would be another run.
    """
    folder = run_folder(resume)
    saved = OmegaConf.load(folder / CONFIG_NAME)
    cfg = OmegaConf.merge(OmegaConf.structured(TrainConfig), saved)
    assert isinstance(cfg, DictConfig)
    OmegaConf.set_struct(cfg, True)
    for override in OverridesParser.create().parse_overrides(command_line):
        _apply(cfg, override, folder)
    with open_dict(cfg):
        cfg.resume = str(resume)
        cfg.paths.run = str(folder)
    return cfg


def _apply(cfg: DictConfig, override: Override, folder: Path) -> None:
    key = override.key_or_group
    if key == "resume" or key.startswith("hydra."):
        return
    if (configuration_folder() / key).is_dir():
        raise ValueError(
            f"resume goes on with the configuration in {folder / CONFIG_NAME}; {override.input_line} would "
            f"exchange all of {key}: change single values ({key}.KEY=VALUE), or start a new run with "
            f"initial_weights={folder}"
        )
    if key == "scale" or key.startswith(("model.", "shift_schedule.")):
        raise ValueError(
            f"resume goes on with the network in {folder}; {override.input_line} would make it another one: "
            f"start a new run, perhaps with initial_weights={folder}"
        )
    OmegaConf.update(cfg, key, override.value(), merge=False)
    log.info("resuming with %s", override.input_line)
