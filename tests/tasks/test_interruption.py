"""A stop by signal, in a loop as small as it gets; oracle: the curve of a run that was not stopped."""

import os
import signal
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from srlab.tasks.curve_logger import CurveLogger
from srlab.tasks.interruption import GracefulStop


class Falling(LightningModule):
    """Logs as the task does: on the steps that have a row, and no others."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.validated: list[int] = []

    def training_step(self, _batch, _batch_idx):
        loss = self.layer(torch.ones(1)).square().sum()
        if (self.trainer.global_step + 1) % self.trainer.log_every_n_steps == 0:
            self.log("train/loss", loss.detach())
        return loss

    def validation_step(self, _batch, _batch_idx):
        self.validated.append(self.trainer.global_step)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Signal(Callback):
    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 4:
            os.kill(os.getpid(), signal.SIGTERM)


def fit(folder: Path, *callbacks: Callback) -> tuple[Falling, CurveLogger]:
    task, curve = Falling(), CurveLogger(folder)
    trainer = Trainer(
        accelerator="cpu", max_steps=8, max_epochs=-1, log_every_n_steps=3, val_check_interval=8,
        check_val_every_n_epoch=None, num_sanity_val_steps=0, logger=curve, default_root_dir=folder,
        enable_progress_bar=False, enable_model_summary=False, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.fit(task, DataLoader(list(range(8))), DataLoader([0]))  # type: ignore[arg-type]
    return task, curve


def test_a_stop_leaves_the_curve_that_there_would_have_been(tmp_path):
    """Told to stop, Lightning logs the last logged loss once more, under another step."""
    whole, curve = fit(tmp_path / "whole", GracefulStop(checkpoint=tmp_path / "never.ckpt"))
    assert [row["step"] for row in curve.rows] == [3, 6]
    assert whole.validated == [8]
    stop = GracefulStop(checkpoint=tmp_path / "last.ckpt")
    stopped, short = fit(tmp_path / "stopped", Signal(), stop)
    assert (stop.stopped_at, stop.stopped_by) == (5, signal.SIGTERM)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 5
    assert [row["step"] for row in short.rows] == [3]
    assert stopped.validated == []
