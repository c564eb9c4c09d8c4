"""Checkpoints that are whole or not there, on disks that fill up and in folders that move."""

import copy
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from srlab.atomic_files import atomic_write

__all__ = ["KeptCheckpoint", "NonFiniteWeightsError", "WholeCheckpoints", "are_finite"]

log = logging.getLogger(__name__)


class NonFiniteWeightsError(RuntimeError):
    """Weights are NaN or infinite; the older checkpoint stays."""


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the older file, waits until the disk has it, then exchanges the two by one rename.

    (Lightning's own writes to the folder for temporary files and moves from there, which copies byte by byte
    if that is another file system.)

    A save that the disk refuses leaves the older file and lets training go on; the next save tries again.
    The files of one step are one state: once one of them has failed, those that follow it are not tried.
    """

    def __init__(self) -> None:
        self.unsaved_step: int | None = None
        """The step of the newest save, if that one failed."""
        self.saved_step: int | None = None
        """The newest step that this process saved."""
        self.fault = ""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write, or say once that it did not work.

        Raises:
            NonFiniteWeightsError: for weights that nobody could go on with.
        """
        step = checkpoint["global_step"]
        if step == self.unsaved_step:
            return
        for key in ("state_dict", "current_model_state"):
            if not are_finite(checkpoint.get(key, {}).values()):
                raise NonFiniteWeightsError(
                    f"weights are not finite after step {step}: not saved, {path} stays"
                )
        try:
            _write(checkpoint, Path(path))
        except OSError as error:
            if self.unsaved_step is None:
                log.warning(
                    "step %d could not be saved: %s; training goes on, the next save tries again", step, error
                )
            self.unsaved_step, self.fault = step, str(error)
            return
        if self.unsaved_step is not None:
            log.warning("step %d could be saved again", step)
        self.unsaved_step, self.saved_step = None, step


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    with atomic_write(path) as partial:
        try:
            # through a file of ours: PyTorch's own writer forgets why it failed
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """The rename, too, outlives a loss of power."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def are_finite(tensors: Iterable[Any]) -> bool:
    """Whether no floating-point number among them is NaN or infinite; waits for the device once."""
    finite = [
        torch.isfinite(tensor).all()
        for tensor in tensors
        if isinstance(tensor, Tensor) and tensor.is_floating_point()
    ]
    return not finite or bool(torch.stack([each.to(finite[0].device) for each in finite]).all())


class KeptCheckpoint(ModelCheckpoint):
    """Lightning's, except that only what is on the disk counts as saved, and that a run's folder may move."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if it is time; forget the score of what could not be saved."""
        before = copy.deepcopy(self.state_dict())
        super().on_validation_end(trainer, pl_module)
        store = trainer.strategy.checkpoint_io
        assert isinstance(store, WholeCheckpoints)
        if trainer.strategy.broadcast(store.unsaved_step == trainer.global_step):
            super().load_state_dict(before)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Paths of the folder that the run was in become those of its folder now."""

        def moved(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        super().load_state_dict(
            {
                **state_dict,
                **{key: moved(state_dict[key]) for key in paths},
                "best_k_models": {moved(path): score for path, score in state_dict["best_k_models"].items()},
                "dirpath": self.dirpath,
            }
        )
