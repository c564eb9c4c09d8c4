"""When and how checkpoints are saved: atomically, before anything that may fail, never with NaN weights."""

import copy
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint, WeightAveraging
from torch import Tensor

from srlab.atomic_files import atomic_write
from srlab.tasks.curve_logger import CurveLogger

log = logging.getLogger(__name__)


class NonFiniteError(RuntimeError):
    """NaN/inf, or a spiked loss; continuing would checkpoint broken weights."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes next to the older file, waits until the data are on the disk, then renames.

    (Lightning's own writes to the folder for temporary files and moves from there, which copies byte by byte
    if that is another file system.)

    A save that fails, on a full disk for example, leaves the older file, and training continues; the next
    save retries. The files of one step are one state: after one of them has failed, the others are skipped.
    """

    #: The step of the newest save, if that one failed, and why.
    unsaved_step: int | None = None
    fault = ""
    #: The newest step that this process saved.
    saved_step: int | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write, or warn once that writing failed.

        Raises:
            NonFiniteError: for weights with NaN or inf.
        """
        step = checkpoint["global_step"]
        if step == self.unsaved_step:
            return
        for key in ("state_dict", "current_model_state"):
            if not are_finite(checkpoint.get(key, {}).values()):
                raise NonFiniteError(f"weights are not finite after step {step}: not saved, {path} stays")
        try:
            _write(checkpoint, Path(path))
        except OSError as error:
            if self.unsaved_step is None:
                log.warning(f"step {step} could not be saved: {error}; training continues and retries")
            self.unsaved_step, self.fault = step, str(error)
            return
        if self.unsaved_step is not None:
            log.warning("saving works again: step %d is saved", step)
        self.unsaved_step, self.saved_step = None, step


def checkpoint_io_of(trainer: Trainer) -> AtomicCheckpointIO:
    """The plugin that a trainer of ours saves with."""
    checkpoint_io = trainer.strategy.checkpoint_io
    assert isinstance(checkpoint_io, AtomicCheckpointIO)
    return checkpoint_io


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    with atomic_write(path) as partial:
        try:
            # through a file of ours: PyTorch's own writer hides the cause of a failure
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
    if os.name == "posix":  # so that the rename, too, survives a loss of power
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def are_finite(tensors: Iterable[Any]) -> bool:
    """Whether no floating-point number among them is NaN or infinite; synchronizes the device once."""
    floating = (each for each in tensors if isinstance(each, Tensor) and each.is_floating_point())
    finite = [torch.isfinite(tensor).all() for tensor in floating]
    return not finite or bool(torch.stack([each.to(finite[0].device) for each in finite]).all())


def is_validated_after(trainer: Trainer, batch_idx: int) -> bool:
    """Whether Lightning validates when this micro-batch ends."""
    interval = trainer.val_check_batch
    return interval is not None and (batch_idx + 1) % int(interval) == 0


class KeptCheckpoint(ModelCheckpoint):
    """Lightning's, except that only saved checkpoints count, and that a run's folder may move."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if due; discard the score of a checkpoint that could not be saved."""
        before = copy.deepcopy(self.state_dict())
        super().on_validation_end(trainer, pl_module)
        unsaved = checkpoint_io_of(trainer).unsaved_step == trainer.global_step
        if trainer.strategy.broadcast(unsaved):
            super().load_state_dict(before)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Replace the folder that the run was in by its folder now."""

        def moved(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        state = {**state_dict, "dirpath": self.dirpath}
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[key] = moved(state[key])
        state["best_k_models"] = {moved(path): score for path, score in state["best_k_models"].items()}
        super().load_state_dict(state)


def validation_is_due(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint was saved before the validation of its step."""
    return checkpoint.get("callbacks", {}).get(LastState.__qualname__, {}).get("validation_is_due", False)


class LastState(Checkpoint):
    """Saves ``last.ckpt`` before each validation, at the end, and where an exception ends the training.

    A state that was saved before its validation records that, and a run that resumes from it validates first,
    so that its curve and its best checkpoint are those of a run that never stopped. Without validations
    (``limit_val_batches=0``) the state is saved at the same interval. (A ``Checkpoint``, because Lightning
    calls those last: what is saved includes the step's own update of the moving average.)

    After an exception in a training step the last complete step is saved, unless the optimizer was changing
    the weights, or the loss or the weights are not finite. With several processes it is not, because the
    others may wait in a collective operation; the state of the last interval stays.

    Args:
        checkpoint: the file to save, the same that the run saves after validations and resumes from.
    """

    def __init__(self, *, checkpoint: Path) -> None:
        self.checkpoint = Path(checkpoint)
        self._validation_is_due = self._is_stepping = False
        self._started_at = 0
        self._max_steps: int | None = None

    def state_dict(self) -> dict[str, Any]:
        """Whether the saved state has yet to be validated."""
        return {"validation_is_due": self._validation_is_due}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Make Lightning begin with the validation that is due, even if no step is left.

        Raises:
            ValueError: the checkpoint holds a moving average, and this run keeps none.
        """
        averages = any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        if "current_model_state" in checkpoint and not averages:
            raise ValueError(
                "the checkpoint holds a moving average of the weights, and this run has no callback that "
                "keeps one: resume with callbacks.ema as it was, or start a new run with initial_weights=RUN"
            )
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
        for counter in (progress["current"], progress["total"]):
            counter.update(dict.fromkeys(("ready", "started", "processed", "completed"), 0))
        if not validation_is_due(checkpoint):
            return
        # to Lightning: a validation that had begun and was interrupted in its first image
        progress["total"].update(ready=1, started=1)
        if checkpoint["global_step"] == trainer.max_steps:
            self._max_steps = trainer.max_steps  # a loop that has no step left would not begin
            trainer.fit_loop.epoch_loop.max_steps = trainer.max_steps + 1

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write the curve first: a run that is killed later must not lack rows up to what it resumes from."""
        for logger in trainer.loggers:
            if isinstance(logger, CurveLogger):
                logger.write()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record where this process started."""
        self._started_at = trainer.global_step

    def on_before_optimizer_step(self, *_: Any, **__: Any) -> None:
        """From here on weights and moments may belong to two steps."""
        self._is_stepping = True

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """The step is complete."""
        self._is_stepping = False

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Without validations, save the step that one would have followed, once it is logged."""
        if not trainer.limit_val_batches and batch_idx > 0 and is_validated_after(trainer, batch_idx - 1):
            self._save(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the step that is about to be validated."""
        if self._max_steps is not None:  # the run gets its own length back
            trainer.fit_loop.epoch_loop.max_steps = self._max_steps
            self._max_steps = None
        self._validation_is_due = True
        self._save(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What is saved from here on has been validated."""
        self._validation_is_due = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what no validation has saved, before the end replaces the weights by their average."""
        if not trainer.strategy.broadcast(checkpoint_io_of(trainer).saved_step == trainer.global_step):
            self._save(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save the last complete step, if possible; a second signal (no ``Exception``) ends at once."""
        if not isinstance(exception, Exception) or isinstance(exception, NonFiniteError):
            return
        is_saved = checkpoint_io_of(trainer).saved_step == trainer.global_step
        if is_saved or trainer.world_size > 1 or not trainer.training or self._is_stepping:
            return
        try:
            self._save(trainer)
        except Exception as error:  # what ended the training matters more
            log.warning("step %d could not be saved: %s", trainer.global_step, error)

    def _save(self, trainer: Trainer) -> None:
        if trainer.global_step <= self._started_at:
            return  # what is on the disk is of this step, or a later one
        trainer.save_checkpoint(self.checkpoint)
