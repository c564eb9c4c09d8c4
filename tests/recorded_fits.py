"""Fits that keep a fingerprint of what the data module delivers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn


class Recorder(LightningModule):
    """Sums of the pixels of every training batch; names and sums of counted validation samples."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.trained: list[tuple[int, int]] = []
        self.validated: list[tuple[str, int]] = []

    def training_step(self, batch: dict, _batch_idx: int) -> torch.Tensor:
        self.trained.append((int(batch["lr_image"].long().sum()), int(batch["hr_image"].long().sum())))
        return self.layer(torch.ones(1)).sum()

    def validation_step(self, sample: dict, _batch_idx: int) -> None:
        if sample["counted"]:
            self.validated.append((sample["name"], int(sample["lr_image"].long().sum())))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        batches = checkpoint["global_step"] * self.trainer.accumulate_grad_batches
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counter in (progress["current"], progress["total"]):
            counter.update(dict.fromkeys(("ready", "started", "processed", "completed"), batches))


def fit(
    data: LightningDataModule,
    *,
    steps: int,
    accumulate: int = 1,
    resume: Path | None = None,
    callbacks: Sequence[Callback] = (),
) -> tuple[Recorder, Trainer]:
    """Train on a CPU, validated every two steps."""
    recorder = Recorder()
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        accumulate_grad_batches=accumulate,
        val_check_interval=2 * accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        callbacks=list(callbacks),
        **quiet,
    )
    trainer.fit(recorder, datamodule=data, ckpt_path=resume, weights_only=True)
    return recorder, trainer
