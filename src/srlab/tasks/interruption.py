"""Stopping a run without losing a step."""

import logging
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from srlab.tasks.checkpoint_io import NonFiniteWeightsError, are_finite

__all__ = ["GracefulStop", "is_validated_after", "stoppable"]

log = logging.getLogger(__name__)

_HANGUP: int | None = getattr(signal, "SIGHUP", None)  # Windows has none
_SIGNALS = tuple(number for number in (signal.SIGINT, signal.SIGTERM, _HANGUP) if number is not None)


@contextmanager
def stoppable() -> Iterator[None]:
    """Outside of the training loop, Ctrl-C, SIGTERM and SIGHUP end the block at once, as any error would.

    Raises:
        SystemExit: with the status that a shell gives to such an end, 130, 143 or 129.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears of signals
        return
    previous = _taken_over(_leave)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _taken_over(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """The handlers that were there before, of the signals that are not ignored."""
    return {
        number: signal.signal(number, handler)
        for number in _SIGNALS
        if number != _HANGUP or signal.getsignal(number) != signal.SIG_IGN
    }


def _leave(number: int, _frame: FrameType | None) -> None:
    _print_nowhere_after(number)
    log.warning("%s: stopped; nothing was being trained", signal.Signals(number).name)
    raise SystemExit(128 + number)


def _print_nowhere_after(number: int) -> None:
    """After SIGHUP the terminal is gone: a line for it would be an error, in the midst of the step."""
    if number != _HANGUP:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if stat.S_ISCHR(os.fstat(stream).st_mode):  # isatty would deny that this is one
            os.dup2(nowhere, stream)
    os.close(nowhere)


class GracefulStop(Checkpoint):
    """On the first Ctrl-C, SIGTERM or SIGHUP: finish the step, save it, end the run. Then abort at once.

    All ranks agree on the step at which they stop. A step that is due for validation is validated first, so
    that the curve of a resumed run equals that of one that never stopped. (A ``Checkpoint``, because
    Lightning calls those last: what it saves includes the step's own update of the moving average.)

    Args:
        checkpoint: the file to save, the same that the run saves regularly and resumes from.
    """

    def __init__(self, *, checkpoint: Path) -> None:
        self.checkpoint = Path(checkpoint)
        self.stopped_at: int | None = None
        self.stopped_by: int | None = None
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals while steps are taken, from Lightning too, whose SIGTERM loses the step."""
        if threading.current_thread() is threading.main_thread():
            self._previous = _taken_over(self._ask)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        _print_nowhere_after(number)
        if self.stopped_by is not None:
            self._restore_signals()
            raise SystemExit(128 + number)
        self.stopped_by = number
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
        if is_step and not is_validated_after(trainer, batch_idx):
            self._stop_if_asked(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop here if asked to during the step before or the validation."""
        self._stop_if_asked(trainer, pl_module)

    def _stop_if_asked(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step >= trainer.max_steps:
            return
        if trainer.strategy.reduce_boolean_decision(self.stopped_by is not None, all=False):
            # on every rank, where the saving one would let the others wait for ever
            if not are_finite([*pl_module.parameters(), *pl_module.buffers()]):
                raise NonFiniteWeightsError(
                    f"weights are not finite after step {trainer.global_step}: not saved; {self.checkpoint}, "
                    "if there, is from before"
                )
            trainer.save_checkpoint(self.checkpoint)
            self.stopped_at = trainer.global_step
            # The run is as long as this now. Told to stop, Lightning would validate, and log the last logged
            # loss once more: a run that never stopped would have neither at this step.
            trainer.fit_loop.epoch_loop.max_steps = trainer.global_step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back."""
        self._restore_signals()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the signals back; say what is left of an aborted run."""
        self._restore_signals()
        if isinstance(exception, SystemExit) and trainer.is_global_zero:
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


def is_validated_after(trainer: Trainer, batch_idx: int) -> bool:
    """Whether Lightning validates when this micro-batch ends."""
    interval = trainer.val_check_batch
    return interval is not None and (batch_idx + 1) % int(interval) == 0
