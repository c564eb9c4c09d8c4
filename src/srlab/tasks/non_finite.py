"""When the loss is no number any more, or explodes: the run stops, skips the step, or goes back."""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from srlab.tasks.bad_steps import NonFiniteLossError, describe_step, go_back, log_count
from srlab.tasks.checkpoint_io import are_finite
from srlab.tasks.interruption import is_validated_after

__all__ = ["OnNaN", "SkipBadSteps", "StopOnBadLoss", "UsualLoss", "bad_loss_policy"]

OnNaN = Literal["stop", "skip", "rewind"]

# Losses that the running median is taken of, and how many there must be before it means anything.
_REMEMBERED = 100
_ENOUGH = 10

# Beyond these, more of the same would not help.
_SKIPS_IN_A_ROW = 10
_RETURNS_TO_ONE_STATE = 3


def bad_loss_policy(*, on_nan: OnNaN, explosion: float | None, checkpoints: Path) -> Callback:
    """The callback that ``on_nan=…`` names.

    Args:
        on_nan: ``stop`` the run with a message; ``skip`` the optimizer step; ``rewind`` weights, moving
            average and optimizer to best.ckpt while steps and samples go on.
        explosion: a loss of more than so many times its running median is bad, too; None: only one that is
            no number.
        checkpoints: the run's folder of checkpoints.

    Raises:
        ValueError: for another word, or an ``explosion`` that an ordinary loss exceeds.
    """
    if on_nan not in ("stop", "skip", "rewind"):
        raise ValueError(f"on_nan must be stop, skip or rewind, got {on_nan!r}")
    if explosion is not None and not explosion > 1:
        raise ValueError(f"explosion must be more than 1 times the usual loss, or null, got {explosion}")
    if on_nan == "stop":
        return StopOnBadLoss(explosion=explosion, checkpoints=checkpoints)
    return SkipBadSteps(explosion=explosion, checkpoints=checkpoints, goes_back=on_nan == "rewind")


class UsualLoss:
    """The running median of the good losses, and what exceeds it too far."""

    def __init__(self, explosion: float | None) -> None:
        self._explosion = explosion
        self.losses: deque[float] = deque(maxlen=_REMEMBERED)

    @property
    def limit(self) -> float:
        """The largest good loss; infinite until enough of them are known."""
        if self._explosion is None or len(self.losses) < _ENOUGH:
            return float("inf")
        return self._explosion * median(self.losses)


class _LossPolicy(Callback):
    """What all of them share: the run's folder of checkpoints, and the usual loss, which goes on with it.

    Args:
        explosion: see ``bad_loss_policy``.
        checkpoints: see there.
    """

    def __init__(self, *, explosion: float | None, checkpoints: Path) -> None:
        self.usual = UsualLoss(explosion)
        self.checkpoints = Path(checkpoints)

    @property
    def state_key(self) -> str:
        """The same for all, so that a run that was stopped and goes on with ``skip`` knows the usual loss."""
        return "bad_loss_policy"

    def state_dict(self) -> dict[str, Any]:
        """What the running median is made of."""
        return {"losses": list(self.usual.losses)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with it."""
        self.usual.losses.extend(state_dict["losses"])


class StopOnBadLoss(_LossPolicy):
    """Ends the run before anything that went wrong is saved.

    The first bad micro-batch is noted on the device. The host looks every ``log_every_n_steps``
    micro-batches, before each validation and before each save, since each look waits for the device; before a
    validation, at the weights too.

    Args:
        explosion: see ``bad_loss_policy``.
        checkpoints: see there.

    Raises:
        NonFiniteLossError: on every rank, naming step, samples and remedies.
    """

    def __init__(self, *, explosion: float | None, checkpoints: Path) -> None:
        super().__init__(explosion=explosion, checkpoints=checkpoints)
        self._first_bad: Tensor | None = None
        self._bad_loss: Tensor | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note on the device; look if it is time."""
        loss = outputs["loss"].detach().float()
        self._note(loss, batch_idx)
        is_validated = is_validated_after(trainer, batch_idx)
        if not (is_validated or (batch_idx + 1) % trainer.log_every_n_steps == 0):  # type: ignore[attr-defined]
            return
        self._look(trainer)
        # of all devices: a run that goes on has the first one's limit everywhere
        now = float(trainer.strategy.reduce(loss.double(), reduce_op="mean"))
        if is_validated and not are_finite([*pl_module.parameters(), *pl_module.buffers()]):
            raise NonFiniteLossError(
                describe_step(trainer, float(batch_idx), now, self.usual.limit, self.checkpoints)
            )
        self.usual.losses.append(now)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Look, also where a signal has a step saved that nobody has looked at."""
        if self._first_bad is not None:
            self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        assert self._first_bad is not None
        assert self._bad_loss is not None
        first, value = torch.stack([self._first_bad, self._bad_loss.double()]).tolist()
        if trainer.strategy.reduce_boolean_decision(first != float("inf"), all=False):
            raise NonFiniteLossError(describe_step(trainer, first, value, self.usual.limit, self.checkpoints))

    def _note(self, loss: Tensor, batch_idx: int) -> None:
        if self._first_bad is None or self._bad_loss is None:
            self._first_bad = torch.full_like(loss, float("inf"), dtype=torch.float64)
            self._bad_loss = torch.zeros_like(loss)
        # NaN is not below anything
        is_first = (
            ~(loss.abs() <= min(self.usual.limit, torch.finfo(torch.float32).max)) & self._first_bad.isinf()
        )
        self._first_bad = torch.where(is_first, float(batch_idx), self._first_bad)
        self._bad_loss = torch.where(is_first, loss, self._bad_loss)


class SkipBadSteps(_LossPolicy):
    """Leaves out an optimizer step whose loss or gradient is bad; with ``goes_back``, returns to best.ckpt.

    The step is counted and its samples are past, but weights, moments of the optimizer and running statistics
    stay as they were. To return to best.ckpt instead (rather than to last.ckpt, which a stopped run writes
    anywhere) makes a resumed run return to what an uninterrupted one returns to, and to weights whose scores
    were the best. The device is waited for in every step, since the host decides.

    Args:
        explosion: see ``bad_loss_policy``.
        checkpoints: see there.
        goes_back: whether a bad step also returns to best.ckpt.

    Raises:
        NonFiniteLossError: on every rank, after 10 bad steps in a row, after three returns to one state, or
            where there is none yet.
    """

    def __init__(self, *, explosion: float | None, checkpoints: Path, goes_back: bool) -> None:
        super().__init__(explosion=explosion, checkpoints=checkpoints)
        self.goes_back = goes_back
        self.skipped = 0
        self.in_a_row = 0
        self.returns: list[int] = []
        self._micro_losses: list[Tensor] = []
        self._statistics: list[Tensor] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the running statistics as they are before the step: a bad batch spoils them in passing."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._micro_losses = []
            self._statistics = [buffer.detach().clone() for buffer in pl_module.buffers()]

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Keep the loss of the micro-batch, as the network was told it."""
        scale = trainer.scaler.get_scale() if trainer.scaler is not None else 1.0
        self._micro_losses.append(loss.detach().double() * trainer.accumulate_grad_batches / scale)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Decide, alike on all ranks."""
        loss = torch.stack(self._micro_losses).mean()
        if trainer.world_size > 1:
            loss = trainer.strategy.reduce(loss, reduce_op="mean")
        value, is_good = self._judge(trainer, pl_module, loss)
        if not trainer.strategy.reduce_boolean_decision(not is_good, all=False):
            self.usual.losses.append(value)
            self.in_a_row = 0
            return
        self._leave_out(trainer, pl_module, optimizer, value)

    def _judge(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> tuple[float, bool]:
        gradients = [each.grad for each in pl_module.parameters() if each.grad is not None]
        # a scaler of gradients looks at them itself, and makes infinite ones on purpose
        looks = gradients if trainer.scaler is None else []
        size = nn.utils.get_total_norm(looks) if looks else torch.zeros_like(loss)
        value, total = torch.stack([loss, size.to(loss)]).tolist()
        return value, abs(value) <= self.usual.limit and abs(value) < float("inf") and total < float("inf")

    def _leave_out(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer, value: float
    ) -> None:
        self.skipped += 1
        self.in_a_row += 1
        first = trainer.global_step * trainer.accumulate_grad_batches
        describe: Callable[[], str] = lambda: describe_step(  # noqa: E731  (costly, and only for the first rank's log)
            trainer, float(first), value, self.usual.limit, self.checkpoints
        )
        if self.in_a_row > _SKIPS_IN_A_ROW:
            raise NonFiniteLossError(f"{_SKIPS_IN_A_ROW} bad steps in a row were left out; {describe()}")
        if trainer.scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            # a fused step would have the scaler look at the gradients, which insists on seeing some
            trainer.scaler.unscale_(optimizer)
        pl_module.zero_grad(set_to_none=True)
        for buffer, kept in zip(pl_module.buffers(), self._statistics, strict=True):
            buffer.data.copy_(kept)
        if self.goes_back:
            state = go_back(trainer, pl_module, optimizer, self.checkpoints / "best.ckpt", describe)
            self.returns.append(state)
            if self.returns.count(state) > _RETURNS_TO_ONE_STATE:
                raise NonFiniteLossError(
                    f"{_RETURNS_TO_ONE_STATE} returns to step {state} did not help; {describe()}"
                )
        log_count(trainer, self.skipped, describe, returned_to=self.returns[-1] if self.goes_back else None)

    def state_dict(self) -> dict[str, Any]:
        """What decisions hang on."""
        return {
            **super().state_dict(),
            "skipped": self.skipped,
            "in_a_row": self.in_a_row,
            "returns": self.returns,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with it, or from a run that knew nothing of skipping."""
        super().load_state_dict(state_dict)
        self.skipped = state_dict.get("skipped", 0)
        self.in_a_row = state_dict.get("in_a_row", 0)
        self.returns = list(state_dict.get("returns", ()))
