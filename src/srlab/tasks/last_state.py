"""The last state of a run is on the disk before anything that may fail: a validation, the report, the end."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, WeightAveraging
from torch.optim import Optimizer

from srlab.tasks.bad_steps import NonFiniteLossError
from srlab.tasks.checkpoint_io import NonFiniteWeightsError, WholeCheckpoints
from srlab.tasks.curve_logger import CurveLogger
from srlab.tasks.interruption import is_validated_after

__all__ = ["LastState", "validation_is_due"]

log = logging.getLogger(__name__)


def validation_is_due(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint was saved before the validation of its step."""
    return checkpoint.get("callbacks", {}).get(LastState.__qualname__, {}).get("validation_is_due", False)


class LastState(Checkpoint):
    """Saves ``last.ckpt`` before each validation, at the end, and where an exception ends the training.

    A state that was saved before its validation says so, and a run that resumes from it validates first, so
    that its curve and its best checkpoint are those of a run that never stopped. Without validations
    (``limit_val_batches=0``) the same interval saves the state. (A ``Checkpoint``, because Lightning calls
    those last: what is saved includes the step's own update of the moving average.)

    After an exception in a training step the last whole step is saved, unless the optimizer was changing the
    weights, or the loss or the weights are not finite. This holds for one process; of several, the others may
    wait in an exchange, and the state of the last interval stays.

    Args:
        checkpoint: the file to save, the same that the run saves after validations and resumes from.
    """

    def __init__(self, *, checkpoint: Path) -> None:
        self.checkpoint = Path(checkpoint)
        self._validation_is_due = False
        self._started_at = 0
        self._max_steps: int | None = None
        self._is_stepping = False

    def state_dict(self) -> dict[str, Any]:
        """Whether the saved state has yet to be validated."""
        return {"validation_is_due": self._validation_is_due}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Have Lightning begin with the validation that is due, also where no step is left.

        Raises:
            ValueError: the weights would be taken from a moving average that goes on no more.
        """
        averages = any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        if "current_model_state" in checkpoint and not averages:
            raise ValueError(
                "the checkpoint holds a moving average beside the weights, and this run has no callback that "
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

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note which steps are this program's own."""
        self._started_at = trainer.global_step

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """From here on weights and moments may be of two steps."""
        self._is_stepping = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A whole step again."""
        self._is_stepping = False

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Without validations, save the step that one would have followed, once it is logged."""
        if not trainer.limit_val_batches and batch_idx > 0 and is_validated_after(trainer, batch_idx - 1):
            self._save(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the step that is about to be validated."""
        if self._max_steps is not None:  # the run is as long as it was asked to be
            trainer.fit_loop.epoch_loop.max_steps = self._max_steps
            self._max_steps = None
        self._validation_is_due = True
        self._save(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What is saved from here on has been validated."""
        self._validation_is_due = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what no validation has saved, before the end exchanges the weights for their average."""
        store = trainer.strategy.checkpoint_io
        assert isinstance(store, WholeCheckpoints)
        if not trainer.strategy.broadcast(store.saved_step == trainer.global_step):
            self._save(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save the last whole step, if that can be done."""
        store = trainer.strategy.checkpoint_io
        assert isinstance(store, WholeCheckpoints)
        is_saved = store.saved_step == trainer.global_step
        if is_saved or trainer.world_size > 1 or not trainer.training or self._is_stepping:
            return
        if not isinstance(exception, Exception):
            return  # a second signal asks for an end at once
        if isinstance(exception, NonFiniteLossError | NonFiniteWeightsError):
            return
        try:
            self._save(trainer)
        except Exception as error:  # what ended the training matters more
            log.warning("step %d could not be saved: %s", trainer.global_step, error)

    def _save(self, trainer: Trainer) -> None:
        if trainer.global_step <= self._started_at:
            return  # what is on the disk is of this step, or a later one
        trainer.save_checkpoint(self.checkpoint)
        for logger in trainer.loggers:
            if isinstance(logger, CurveLogger):
                logger.after_save_checkpoint(self)
