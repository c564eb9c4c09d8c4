"""NaN/inf or a spiked loss: the run stops with a message, or skips the step."""

import logging
from collections import deque
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from srlab.data.sampling import GlobalBatchSampler
from srlab.data.training_crops import TrainingCrops
from srlab.runs.contract import LAST_CHECKPOINT
from srlab.tasks.checkpoint_io import NonFiniteError, are_finite, is_validated_after
from srlab.terminal.names import some

log = logging.getLogger(__name__)

# Losses that the running median is taken of, and how many it needs before it means anything.
_REMEMBERED = 100
_ENOUGH = 10

_SKIPS_IN_A_ROW = 10  # more of the same would not help
_NAMED_SAMPLES = 8


def bad_loss_policy(
    *, on_nan: Literal["stop", "skip"], loss_spike_factor: float | None, checkpoints: Path
) -> Callback:
    """The callback that ``on_nan=…`` chooses.

    Args:
        on_nan: ``stop`` the run with a message, or ``skip`` the optimizer step.
        loss_spike_factor: a loss above this many times its running median is bad, too; None: only NaN/inf.
        checkpoints: the run's folder of checkpoints.

    Raises:
        ValueError: for another word, or a factor that ordinary losses exceed.
    """
    if on_nan not in ("stop", "skip"):
        raise ValueError(f"on_nan must be stop or skip, got {on_nan!r}")
    if loss_spike_factor is not None and not loss_spike_factor > 1:
        raise ValueError(
            f"loss_spike_factor must be more than 1 times the usual loss, or null, got {loss_spike_factor}"
        )
    policy = StopOnBadLoss if on_nan == "stop" else SkipBadSteps
    return policy(loss_spike_factor=loss_spike_factor, checkpoints=checkpoints)


class _LossPolicy(Callback):
    """The running median of the good losses, which is saved with the run; see :func:`bad_loss_policy`."""

    def __init__(self, *, loss_spike_factor: float | None, checkpoints: Path) -> None:
        self.checkpoints = Path(checkpoints)
        self.losses: deque[float] = deque(maxlen=_REMEMBERED)
        self._factor = loss_spike_factor

    @property
    def limit(self) -> float:
        """The largest good loss; infinite until enough of them are known."""
        if self._factor is None or len(self.losses) < _ENOUGH:
            return float("inf")
        return self._factor * median(self.losses)

    @property
    def state_key(self) -> str:
        """The same for both policies, so that a stopped run that resumes with ``skip`` keeps the median."""
        return "bad_loss_policy"

    def state_dict(self) -> dict[str, Any]:
        """The losses behind the median."""
        return {"losses": list(self.losses)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with them."""
        self.losses.extend(state_dict["losses"])

    def describe(self, trainer: Trainer, first_bad: float, value: float) -> str:
        """One message with step, micro-batch, samples and remedies; every rank must call it.

        Args:
            trainer: of the run.
            first_bad: number of this rank's first bad micro-batch from the start of the run, or infinite.
            value: its loss; a good one means that the gradient was bad.
        """
        mine = torch.tensor([first_bad, value], dtype=torch.float64, device=trainer.strategy.root_device)
        found = trainer.strategy.all_gather(mine).reshape(-1, 2).tolist()
        rank = min(range(len(found)), key=lambda number: found[number][0])
        parts = trainer.accumulate_grad_batches
        step, part = divmod(int(found[rank][0]), parts)
        value = found[rank][1]
        place = f"step {step + 1}{f', micro-batch {part + 1} of {parts}' if parts > 1 else ''}"
        process = f" on rank {rank}" if len(found) > 1 else ""
        last = self.checkpoints / LAST_CHECKPOINT
        saved = f"{last} is from before" if last.exists() else "nothing was saved before"
        return (
            f"{_fault(value, self.limit)} in {place}{process} (precision {trainer.precision}), on "
            f"{_samples(trainer, step, part, rank)}: lower optimizer.lr, set trainer.gradient_clip_val, use "
            "trainer.precision=bf16-mixed or 32-true (ELAN's and SwinIR's activations leave fp16's range), "
            f"or skip such steps with on_nan=skip; {saved}"
        )


class StopOnBadLoss(_LossPolicy):
    """Ends the run before broken weights are saved.

    The first bad micro-batch is recorded on the device. The host reads it every ``log_every_n_steps``
    micro-batches, before each validation and before each save, since each read synchronizes the device;
    before a validation it checks the weights, too.

    Raises:
        NonFiniteError: on every rank, naming step, samples and remedies.
    """

    #: Number (or infinity) and loss of the first bad micro-batch, in float64.
    _first_bad: Tensor | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record on the device; read if due."""
        loss = outputs["loss"].detach().float()
        self._record(loss, batch_idx)
        is_validated = is_validated_after(trainer, batch_idx)
        if not (is_validated or (batch_idx + 1) % trainer.log_every_n_steps == 0):  # type: ignore[attr-defined]
            return
        self._read(trainer)
        # over all devices: every rank of a resumed run gets the first one's limit
        now = float(trainer.strategy.reduce(loss.double(), reduce_op="mean"))
        if is_validated and not are_finite([*pl_module.parameters(), *pl_module.buffers()]):
            raise NonFiniteError(self.describe(trainer, float(batch_idx), now))
        self.losses.append(now)

    def on_save_checkpoint(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Read, also where a signal saves a step that was not read yet."""
        if self._first_bad is not None:
            self._read(trainer)

    def _read(self, trainer: Trainer) -> None:
        assert self._first_bad is not None
        first, value = self._first_bad.tolist()
        if trainer.strategy.reduce_boolean_decision(first != float("inf"), all=False):
            raise NonFiniteError(self.describe(trainer, first, value))

    def _record(self, loss: Tensor, batch_idx: int) -> None:
        now = torch.stack([torch.full_like(loss, float(batch_idx)), loss]).double()
        if self._first_bad is None:
            self._first_bad = torch.full_like(now, float("inf"))
        # comparisons with NaN are False
        is_bad = ~(loss.abs() <= min(self.limit, torch.finfo(torch.float32).max))
        self._first_bad = torch.where(is_bad & self._first_bad[0].isinf(), now, self._first_bad)


class SkipBadSteps(_LossPolicy):
    """Skips an optimizer step whose loss or gradient is bad.

    The step is counted and its samples are consumed, but weights, moments of the optimizer and running
    statistics stay as they were. The device is synchronized in every step, since the host decides.

    Raises:
        NonFiniteError: on every rank, after 10 bad steps in a row.
    """

    skipped = 0
    in_a_row = 0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Copy the running statistics: the forward pass of a bad batch breaks them."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._micro_losses: list[Tensor] = []
            self._statistics = [buffer.detach().clone() for buffer in pl_module.buffers()]

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Record the loss of the micro-batch, without the scaler's factor."""
        scale = trainer.scaler.get_scale() if trainer.scaler is not None else 1.0
        self._micro_losses.append(loss.detach().double() * trainer.accumulate_grad_batches / scale)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Decide, alike on all ranks."""
        loss = torch.stack(self._micro_losses).mean()
        if trainer.world_size > 1:
            loss = trainer.strategy.reduce(loss, reduce_op="mean")
        # with a scaler, infinite gradients are ordinary: it skips the step itself
        looks = trainer.scaler is None
        gradients = [each.grad for each in pl_module.parameters() if looks and each.grad is not None]
        size = nn.utils.get_total_norm(gradients) if gradients else torch.zeros_like(loss)
        value, total = torch.stack([loss, size.to(loss)]).tolist()
        is_good = abs(value) <= self.limit and max(abs(value), total) < float("inf")
        if trainer.strategy.reduce_boolean_decision(not is_good, all=False):
            self._skip(trainer, pl_module, optimizer, value)
        else:
            self.losses.append(value)
            self.in_a_row = 0

    def _skip(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer, value: float) -> None:
        self.skipped += 1
        self.in_a_row += 1
        first = float(trainer.global_step * trainer.accumulate_grad_batches)
        message = self.describe(trainer, first, value)
        if self.in_a_row > _SKIPS_IN_A_ROW:
            raise NonFiniteError(f"{_SKIPS_IN_A_ROW} bad steps in a row were skipped; {message}")
        if trainer.scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            # a fused step would make the scaler inspect the gradients, and it fails if there are none
            trainer.scaler.unscale_(optimizer)
        pl_module.zero_grad(set_to_none=True)
        for buffer, kept in zip(pl_module.buffers(), self._statistics, strict=True):
            buffer.data.copy_(kept)
        if trainer.is_global_zero:
            log.warning("step %d is skipped (%d so far): %s", trainer.global_step + 1, self.skipped, message)
            for logger in trainer.loggers:
                logger.log_metrics({"train/skipped_steps": float(self.skipped)}, step=trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """The median's losses and the counts."""
        return {**super().state_dict(), "skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with them, or from a run that did not skip."""
        super().load_state_dict(state_dict)
        self.skipped = state_dict.get("skipped", 0)
        self.in_a_row = state_dict.get("in_a_row", 0)


def _fault(value: float, limit: float) -> str:
    if not abs(value) < float("inf"):
        return f"the loss became {value}"
    if abs(value) > limit:
        return f"the loss spiked to {value:.4g}, more than {limit:.4g},"
    return f"the gradient of a loss of {value:.4g}, or the weights after it, became NaN or infinite"


def _samples(trainer: Trainer, step: int, part: int, rank: int) -> str:
    """The samples of a micro-batch by number, image and position."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    shares = GlobalBatchSampler(
        batch_size=data.batch_size,
        num_replicas=trainer.world_size,
        rank=rank,
        accumulate=trainer.accumulate_grad_batches,
        start_step=step,
        num_steps=step + 1,
    )
    indices = list(shares)[part]
    crops: TrainingCrops = data.training_crops
    unit = "LR" if crops.scales.of(indices[0]).grid > 1 else "HR"
    named = [
        f"image {crops.store.images[image].name} ({unit} row {crop.top}, column {crop.left})"
        for image, crop in map(crops.draw, indices)
    ]
    return f"samples {indices[0]} to {indices[-1]}: {some(named, most=_NAMED_SAMPLES)}"
