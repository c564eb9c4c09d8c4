"""Naming a step that went wrong, and going back to before it."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch.optim import Optimizer

from srlab.data.sampling import GlobalBatchSampler
from srlab.data.training_crops import TrainingCrops

__all__ = ["NonFiniteLossError", "describe_step", "go_back", "log_count"]

log = logging.getLogger(__name__)

_NAMED_SAMPLES = 8


class NonFiniteLossError(RuntimeError):
    """The loss is no number any more, or has exploded; going on would save a ruined network."""


def describe_step(trainer: Trainer, first_bad: float, value: float, limit: float, checkpoints: Path) -> str:
    """One message with step, micro-batch, samples and remedies; every rank must call it.

    Args:
        trainer: of the run.
        first_bad: number of this rank's first bad micro-batch from the start of the run, infinite for none.
        value: its loss.
        limit: the largest loss that would have been good; a good loss means that the gradient was bad.
        checkpoints: the run's folder of checkpoints.
    """
    mine = torch.tensor([first_bad, value], dtype=torch.float64, device=trainer.strategy.root_device)
    found = trainer.strategy.all_gather(mine).reshape(-1, 2).tolist()
    rank = min(range(len(found)), key=lambda number: found[number][0])
    micro_batch, value = int(found[rank][0]), found[rank][1]
    step, part = divmod(micro_batch, trainer.accumulate_grad_batches)
    parts = trainer.accumulate_grad_batches
    place = f"step {step + 1}{f', micro-batch {part + 1} of {parts}' if parts > 1 else ''}"
    process = f" on rank {rank}" if len(found) > 1 else ""
    last = checkpoints / "last.ckpt"
    kept = f"{last} is from before" if last.exists() else "nothing was saved before"
    return (
        f"{_fault(value, limit)} in {place}{process} (precision {trainer.precision}), on "
        f"{_samples(trainer, step, part, rank)}: lower optimizer.lr, set trainer.gradient_clip_val, use "
        "trainer.precision=bf16-mixed or 32-true (ELAN's and SwinIR's activations leave fp16's range), or "
        f"let the run go on with on_nan=skip or on_nan=rewind; {kept}"
    )


def _fault(value: float, limit: float) -> str:
    if not abs(value) < float("inf"):
        return f"the loss became {value}"
    if abs(value) > limit:
        return f"the loss exploded to {value:.4g}, more than {limit:.4g},"
    return f"the gradient of a loss of {value:.4g} was not finite, or the weights that it left are not,"


def _samples(trainer: Trainer, step: int, part: int, rank: int) -> str:
    """The samples of a micro-batch by number, image and place."""
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
    named = [
        f"image {crops.store.images[image].name} (LR row {crop.top}, column {crop.left})"
        for image, crop in crops.draw(indices[:_NAMED_SAMPLES])
    ]
    more = f" and {len(indices) - len(named)} more" if len(indices) > len(named) else ""
    return f"samples {indices[0]} to {indices[-1]}: {', '.join(named)}{more}"


def go_back(
    trainer: Trainer,
    pl_module: LightningModule,
    optimizer: Optimizer,
    checkpoint: Path,
    describe: Callable[[], str],
) -> int:
    """Weights, moving average and the optimizer's moments as ``checkpoint`` has them; the schedule goes on.

    Returns:
        The step that they are from.

    Raises:
        NonFiniteLossError: there is no such checkpoint yet, or it is of a later step.
    """
    if not checkpoint.exists():
        raise NonFiniteLossError(f"there is no {checkpoint} to go back to yet; {describe()}")
    content = trainer.strategy.load_checkpoint(checkpoint, weights_only=True)
    step = content["global_step"]
    if step > trainer.global_step:
        raise NonFiniteLossError(
            f"{checkpoint} is of step {step}, which this run has yet to reach: resume=auto goes on from "
            f"there; {describe()}"
        )
    pl_module.load_state_dict(content.get("current_model_state", content["state_dict"]))
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, WeightAveraging):
            callback.on_load_checkpoint(trainer, pl_module, content)
    rates = [{key: group[key] for key in ("lr", "initial_lr")} for group in optimizer.param_groups]
    trainer.strategy.load_optimizer_state_dict(content)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group.update(rate)
    return step


def log_count(
    trainer: Trainer, skipped: int, describe: Callable[[], str], *, returned_to: int | None
) -> None:
    """Say what was left out, and let the loggers count it."""
    message = describe()
    if not trainer.is_global_zero:
        return
    what = (
        "left out"
        if returned_to is None
        else f"left out, and the network is that of step {returned_to} again"
    )
    log.warning("step %d is %s (%d so far): %s", trainer.global_step + 1, what, skipped, message)
    for logger in trainer.loggers:
        logger.log_metrics({"train/skipped_steps": float(skipped)}, step=trainer.global_step)
