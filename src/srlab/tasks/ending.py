"""Why a training ended before its last step."""

from dataclasses import dataclass

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer

__all__ = ["Ending", "ending_of"]


@dataclass(frozen=True)
class Ending:
    """How far a training came.

    Attributes:
        steps: optimizer steps that were done.
        planned: ``trainer.max_steps``.
        cause: what ended it before, None where all steps were done.
    """

    steps: int
    planned: int
    cause: str | None

    def __str__(self) -> str:
        if self.cause is None:
            return f"all {self.steps} steps are done"
        return f"ended after step {self.steps} of {self.planned}: {self.cause}"


def ending_of(trainer: Trainer, *, planned: int) -> Ending:
    """Of a trainer whose ``fit`` has returned, other than by a signal.

    Args:
        trainer: of the run.
        planned: the steps that the run was to have.
    """
    cause = None if trainer.global_step >= planned else _cause(trainer)
    return Ending(steps=trainer.global_step, planned=planned, cause=cause)


def _cause(trainer: Trainer) -> str:
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        remaining = callback.time_remaining() if isinstance(callback, Timer) else None
        if remaining is not None and remaining <= 0:
            return "trainer.max_time is used up"
        if isinstance(callback, EarlyStopping) and callback.stopping_reason_message:
            return f"early stopping: {callback.stopping_reason_message.strip()}"
    return "a callback or an option of the trainer asked for it"
