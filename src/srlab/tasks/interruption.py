"""How a training ends before its last step: by a signal, without losing a step, or by a callback."""

import logging
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, Timer

from srlab.tasks.checkpoint_io import NonFiniteError, are_finite, is_validated_after
from srlab.terminal.output import discard

log = logging.getLogger(__name__)

_HANGUP: int | None = getattr(signal, "SIGHUP", None)  # Windows has none
_SIGNALS = tuple(number for number in (signal.SIGINT, signal.SIGTERM, _HANGUP) if number is not None)


@contextmanager
def stoppable() -> Iterator[None]:
    """Outside of the training loop, Ctrl-C, SIGTERM and SIGHUP end the block at once, like any error.

    Raises:
        SystemExit: with the status that a shell gives to such an end, 130, 143 or 129.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals
        return
    previous = _taken_over(_leave)
    try:
        yield
    finally:
        _restore(previous)


def _taken_over(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Install ``handler`` for all signals that are not ignored; returns the previous handlers."""
    return {
        number: signal.signal(number, handler)
        for number in _SIGNALS
        if number != _HANGUP or signal.getsignal(number) != signal.SIG_IGN
    }


def _restore(previous: dict[int, Any]) -> None:
    for number, handler in previous.items():
        signal.signal(number, handler)
    previous.clear()


def _leave(number: int, _frame: FrameType | None) -> None:
    _detach_terminal(number)
    log.warning("%s: stopped; no training was in progress", signal.Signals(number).name)
    raise SystemExit(128 + number)


def _detach_terminal(number: int) -> None:
    """After SIGHUP the terminal is gone, and writing to it would raise in the middle of a step."""
    if number == _HANGUP:  # isatty is already False here
        discard(*(stream for stream in (1, 2) if stat.S_ISCHR(os.fstat(stream).st_mode)))


class GracefulStop(Checkpoint):
    """The first Ctrl-C, SIGTERM or SIGHUP finishes the step, saves it and ends the run; a second one aborts.

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
        """Handle the signals while training; Lightning's own handling of SIGTERM would lose the step."""
        if threading.current_thread() is threading.main_thread():
            self._previous = _taken_over(self._request)

    def _request(self, number: int, _frame: FrameType | None) -> None:
        _detach_terminal(number)
        if self.stopped_by is not None:
            _restore(self._previous)
            raise SystemExit(128 + number)
        self.stopped_by = number
        name = signal.Signals(number).name
        log.warning("%s: finishing and saving this step; a second signal aborts at once and loses it", name)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop between two optimizer steps, if requested."""
        is_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if is_step and not is_validated_after(trainer, batch_idx):
            self._stop_if_requested(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop if requested during the step before or the validation."""
        self._stop_if_requested(trainer, pl_module)

    def _stop_if_requested(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step >= trainer.max_steps:
            return
        if trainer.strategy.reduce_boolean_decision(self.stopped_by is not None, all=False):
            # on every rank: if only the saving one raised, the others would wait for it
            if not are_finite([*pl_module.parameters(), *pl_module.buffers()]):
                raise NonFiniteError(
                    f"weights are not finite after step {trainer.global_step}: not saved; {self.checkpoint}, "
                    "if there, is from before"
                )
            trainer.save_checkpoint(self.checkpoint)
            self.stopped_at = trainer.global_step
            # Ends the loop by its length. Lightning's should_stop would validate and log the last loss once
            # more; a run that never stopped has neither at this step.
            trainer.fit_loop.epoch_loop.max_steps = trainer.global_step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the previous handlers."""
        _restore(self._previous)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the previous handlers; log what an aborted run has saved."""
        _restore(self._previous)
        if isinstance(exception, SystemExit) and trainer.is_global_zero:
            exists = self.checkpoint.exists()
            left = f"{self.checkpoint} can be resumed" if exists else "nothing was saved yet"
            log.warning("aborted in step %d; %s", trainer.global_step + 1, left)


@dataclass(frozen=True)
class Ending:
    """How far a training came: completed and planned steps, and what ended it early, if anything did."""

    steps: int
    planned: int
    cause: str | None

    def __str__(self) -> str:
        if self.cause is None:
            return f"all {self.steps} steps are done"
        return f"ended after step {self.steps} of {self.planned}: {self.cause}"


def ending_of(trainer: Trainer, *, planned: int) -> Ending:
    """Of a trainer whose ``fit`` has returned without a signal, where ``planned`` steps were asked for."""
    cause = None if trainer.global_step >= planned else _cause(trainer)
    return Ending(steps=trainer.global_step, planned=planned, cause=cause)


def _cause(trainer: Trainer) -> str:
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        remaining = callback.time_remaining() if isinstance(callback, Timer) else None
        if remaining is not None and remaining <= 0:
            return "trainer.max_time is used up"
        if isinstance(callback, EarlyStopping) and callback.stopping_reason_message:
            return f"early stopping: {callback.stopping_reason_message.strip()}"
    return "a callback or an option of the trainer stopped it"
