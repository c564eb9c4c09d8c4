"""Where a run starts: from nothing, from the newest good checkpoint, or not at all since it is finished."""

import logging
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from srlab.app.differing_keys import differing_keys
from srlab.app.launch import is_first_process
from srlab.app.resume import (
    AUTO,
    CONFIG_NAME,
    SUMMARY_NAME,
    adopted_config,
    finished_summary,
    load_config,
    repeated_config,
    resumed_config,
    run_folder,
)
from srlab.checkpoints.files import read_file
from srlab.config import TrainConfig
from srlab.runs.versions import warn_of_other_versions
from srlab.tasks.checkpoint_io import validation_is_due
from srlab.terminal.command_lines import typed_override

__all__ = ["StartingPoint", "effective_config", "starting_point"]

log = logging.getLogger(__name__)

# What an attempt writes that ended before its first checkpoint.
_LEFTOVERS = (CONFIG_NAME, SUMMARY_NAME, "metrics.csv", "costs.json", "comparison.png")

# What Lightning must find to go on.
_NEEDED = ("global_step", "loops", "optimizer_states", "lr_schedulers", "state_dict")

_NAMED_KEYS = 5


@dataclass(frozen=True)
class StartingPoint:
    """How to begin."""

    cfg: DictConfig
    checkpoint: Path | None = None
    """The state to go on from, None for a new run."""
    finished_psnr: float | None = None
    """Of a run that has nothing left to do: its score in dB."""


def effective_config(cfg: DictConfig, command_line: list[str]) -> DictConfig:
    """What ``resume=RUN``, ``rerun=RUN`` or ``--config-dir RUN`` stand for; others are as they were typed.

    Args:
        cfg: as composed.
        command_line: overrides as typed.

    Raises:
        ValueError: for both at once, or changes that they do not allow.
    """
    if OmegaConf.get_type(cfg) is not TrainConfig:
        cfg = adopted_config(cfg, Path(HydraConfig.get().runtime.output_dir))
    if cfg.rerun and cfg.resume not in (None, AUTO):
        raise ValueError(f"rerun={cfg.rerun} starts a run and resume={cfg.resume} goes on with one: choose")
    if cfg.rerun:
        if is_first_process():
            warn_of_other_versions(run_folder(Path(cfg.rerun), key="rerun"))
        return repeated_config(cfg, command_line)
    if cfg.resume in (None, AUTO):
        return cfg
    resumed = resumed_config(Path(cfg.resume), command_line)
    asked = Path(HydraConfig.get().runtime.output_dir)
    if asked.resolve() != Path(resumed.paths.run).resolve():
        raise ValueError(
            f"hydra.run.dir={asked}: a resumed run writes to its own folder, {resumed.paths.run}: leave it "
            "out, or move the folder before"
        )
    return resumed


def starting_point(cfg: DictConfig) -> StartingPoint:
    """Decide, with the run's folder locked; other processes of the run decide alike.

    Args:
        cfg: a checked configuration.

    Raises:
        ValueError: the checkpoint is damaged, the run is already longer than it should become, or
            ``resume=auto`` found another configuration's run.
        FileNotFoundError: there is no checkpoint.
    """
    if not cfg.resume:
        return StartingPoint(cfg)
    folder = Path(cfg.paths.run)
    if cfg.resume == AUTO:
        cfg = _checked_against_saved(cfg, folder)
    if not Path(cfg.resume).is_file():
        summary = finished_summary(folder)
        if summary is not None and _is_at_end(summary["steps"], cfg):
            return StartingPoint(cfg, finished_psnr=float(summary["val/psnr"]))
    found = _newest_good(folder) if cfg.resume == AUTO else _named_checkpoint(Path(cfg.resume), folder)
    if is_first_process():
        _clear(folder, is_new=found is None)
    if found is None:
        return StartingPoint(cfg)
    step, checkpoint = found
    _is_at_end(step, cfg)
    log.info("going on after step %d, from %s", step, checkpoint)
    return StartingPoint(cfg, checkpoint=checkpoint)


def _is_at_end(step: int, cfg: DictConfig) -> bool:
    if step > cfg.trainer.max_steps:
        raise ValueError(
            f"the run in {cfg.paths.run} has been trained for {step} steps already, more than "
            f"trainer.max_steps={cfg.trainer.max_steps}: give a larger number, or start a new run"
        )
    return step == cfg.trainer.max_steps


def _checked_against_saved(cfg: DictConfig, folder: Path) -> DictConfig:
    """The typed configuration with the identity of the run in ``folder``, if that is the same run.

    Raises:
        ValueError: it is another one, with something to lose.
    """
    has_results = bool(_checkpoints(folder)) or (folder / SUMMARY_NAME).exists()
    if not (folder / CONFIG_NAME).exists():
        if has_results:
            raise ValueError(
                f"{folder} holds checkpoints but no {CONFIG_NAME} to tell whose; name another folder"
            )
        return cfg
    saved = load_config(folder)
    differing = differing_keys(cfg, saved)
    if differing and has_results:
        named = ", ".join(differing[:_NAMED_KEYS]) + (" …" if len(differing) > _NAMED_KEYS else "")
        raise ValueError(
            f"resume=auto: the run in {folder} was started with another configuration; it differs in "
            f"{named}. Go on with it by {typed_override('resume', folder)}, perhaps with single values "
            "changed, or name another folder (hydra.run.dir=…)"
        )
    if not differing:
        cfg.threads = cfg.threads or saved.threads
        for name, logger in cfg.logger.items():
            if logger is not None and "id" in logger:
                logger.id = logger.id or saved.logger[name].id
    return cfg


def _checkpoints(folder: Path) -> list[Path]:
    """Ours, and those that Lightning leaves when SLURM requeues a job."""
    return sorted([*folder.glob("checkpoints/*.ckpt"), *folder.glob("hpc_ckpt_*.ckpt")])


def _newest_good(folder: Path) -> tuple[int, Path] | None:
    """Of the checkpoints that can be read the one of most steps; clocks and dates of files do not matter."""
    found = {path: _state_if_good(path) for path in _checkpoints(folder)}
    good = [(*state, path.name, path) for path, state in found.items() if state is not None]
    if not good:
        return None
    step, _, _, path = max(good)
    return step, path


def _state_if_good(path: Path) -> tuple[int, bool] | None:
    """Its step, and whether that has been validated where it was to be."""
    try:
        content = _checked(path)
        return content["global_step"], not validation_is_due(content)
    except (ValueError, OSError) as error:
        log.warning("resume=auto passes over a checkpoint: %s", error)
        return None


def _named_checkpoint(resume: Path, folder: Path) -> tuple[int, Path]:
    """The checkpoint itself, or the run's last one, and its step.

    Raises:
        FileNotFoundError: if the run was stopped before it saved anything.
        ValueError: it is damaged.
    """
    checkpoint = resume if resume.is_file() else folder / "checkpoints" / "last.ckpt"
    others = [path for path in _checkpoints(folder) if path != checkpoint]
    if not checkpoint.is_file():
        raise FileNotFoundError(
            f"resume={resume}: {checkpoint} does not exist: that run ended before its first checkpoint; "
            "start it anew"
        )
    try:
        return _checked(checkpoint)["global_step"], checkpoint
    except ValueError as error:
        remedy = (
            f"{typed_override('resume', others[0])} or resume=auto {typed_override('hydra.run.dir', folder)}"
            if others
            else "start the run anew"
        )
        raise ValueError(f"cannot go on from {checkpoint}: {error}. What may help: {remedy}") from error


def _checked(path: Path) -> dict[str, Any]:
    """A checkpoint, every byte of which has been checked.

    Raises:
        ValueError: it is damaged, or nothing to go on from.
    """
    content = read_file(path, known="only what train.py saved can be gone on with")
    # PyTorch's reader leaves the sums unchecked, and would hand out whatever stands in a damaged block
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{path} is damaged: {damaged} in it does not have the sum that it was written with")
    missing: Sequence[str] = [key for key in _NEEDED if key not in content]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}: it holds a network, not the state of a run")
    return content


def _clear(folder: Path, *, is_new: bool) -> None:
    """Take away what broke off; what was saved but cannot be read is kept under another name."""
    for partial in folder.glob("checkpoints/.*.partial"):
        partial.unlink()
    if not is_new:
        return
    for damaged in _checkpoints(folder):
        damaged.replace(damaged.with_name(f"{damaged.name}.damaged"))
    leftovers = [folder / name for name in _LEFTOVERS if (folder / name).exists()]
    for path in leftovers:
        path.unlink()
    if leftovers:
        log.warning("starting anew in %s: an earlier attempt left nothing to go on from", folder)
