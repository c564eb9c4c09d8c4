"""Stopping a run without losing a step, and stopping one that has gone wrong."""

import logging
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

__all__ = ["GracefulStop", "NonFiniteLossError", "StopOnNonFiniteLoss"]

log = logging.getLogger(__name__)


class GracefulStop(Checkpoint):
    """On the first Ctrl-C or SIGTERM: finish the step, save it, end the run. On the second: abort at once.

    All ranks agree on the step at which they stop. A step that is due for validation is validated first, so
    that the curve of a resumed run equals that of one that never stopped. (A ``Checkpoint``, because
    Lightning calls those last: what it saves includes the step's own update of the moving average.)

    Args:
        checkpoint: the file to save, the same that the run saves regularly and resumes from.
    """

    def __init__(self, *, checkpoint: Path) -> None:
        self.checkpoint = Path(checkpoint)
        self.stopped_at: int | None = None
        self._asked = False
        self._previous: dict[int, Any] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals for the length of the fit."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._ask)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self._asked:
            self._restore_signals()
            raise KeyboardInterrupt
        self._asked = True
        name = signal.Signals(number).name
        log.warning("%s: finishing this step and saving it; once more aborts at once and loses it", name)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Stop here if asked to, between two optimizer steps."""
        is_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if is_step and not _is_validated_after(trainer, batch_idx):
            self._stop_if_asked(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop here if asked to during the step before or the validation."""
        self._stop_if_asked(trainer)

    def _stop_if_asked(self, trainer: Trainer) -> None:
        if trainer.global_step >= trainer.max_steps:
            return
        if trainer.strategy.reduce_boolean_decision(self._asked, all=False):
            trainer.save_checkpoint(self.checkpoint)
            self.stopped_at = trainer.global_step
            # Lightning validates when it is told to stop; a run that never stopped would have no score at
            # this step.
            trainer.limit_val_batches = 0
            trainer.should_stop = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back."""
        self._restore_signals()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the signals back; say what is left of an aborted run."""
        self._restore_signals()
        if isinstance(exception, KeyboardInterrupt) and trainer.is_global_zero:
            left = (
                f"resume goes on from {self.checkpoint}"
                if self.checkpoint.exists()
                else "nothing was saved yet"
            )
            log.warning("aborted in step %d; %s", trainer.global_step + 1, left)

    def _restore_signals(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()


def _is_validated_after(trainer: Trainer, batch_idx: int) -> bool:
    """Whether Lightning validates when this micro-batch ends."""
    interval = trainer.val_check_batch
    return interval is not None and (batch_idx + 1) % int(interval) == 0


class NonFiniteLossError(RuntimeError):
    """The loss has become NaN or infinite; going on would save a ruined network."""


class StopOnNonFiniteLoss(Callback):
    """End the run when the loss is no longer a number, before the next checkpoint is saved.

    Looks every ``log_every_n_steps`` micro-batches and before each validation: each look waits for the
    device.

    Raises:
        NonFiniteLossError: on every rank, naming the step and the remedies.
    """

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Look at the loss if it is time."""
        is_logged = (batch_idx + 1) % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        if not (is_logged or _is_validated_after(trainer, batch_idx)):
            return
        is_finite = bool(torch.isfinite(outputs["loss"]))
        if trainer.strategy.reduce_boolean_decision(not is_finite, all=False):
            raise NonFiniteLossError(
                f"the loss is not finite at step {trainer.global_step} (precision {trainer.precision}): "
                "lower optimizer.lr, set trainer.gradient_clip_val, or use trainer.precision=bf16-mixed or "
                "32-true "
                "(ELAN's and SwinIR's activations leave fp16's range); checkpoints/last.ckpt is from before"
            )
