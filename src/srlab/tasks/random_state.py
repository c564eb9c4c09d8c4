"""Seeds every training step by its number, so that random draws need no state."""

from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

__all__ = ["StepSeed"]


class StepSeed(Callback):
    """Seeds PyTorch's generators before each micro-batch, from (seed, optimizer step, micro-batch) alone.

    What a network draws in training, such as the branches that SwinIR drops, is the same before and after a
    resume, without a generator's state in any checkpoint. All processes are seeded alike: drop path draws for
    the whole batch, and each process takes its share.

    Args:
        seed: of the run.
    """

    def __init__(self, *, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed every device's generator, without synchronizing."""
        words = (self.seed % 2**64, trainer.global_step, batch_idx % trainer.accumulate_grad_batches)
        torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0]))
