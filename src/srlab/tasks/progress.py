"""Progress of a run: a bar of micro-batches on a terminal, elsewhere one line a minute in the log."""

import logging
import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar

from srlab.terminal.progress import OncePerInterval, duration

log = logging.getLogger(__name__)


class RunProgress(TQDMProgressBar):
    """Lightning's bar without epochs (a run has one) and version number (it has none).

    Without a terminal, the log gets one line a minute with the step, the loss, the newest
    validation score and the remaining time.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose between bar and lines; only the first process has either."""
        super().setup(trainer, pl_module, stage)
        is_terminal = sys.stdout is not None and sys.stdout.isatty()
        self._writes_lines = self.is_enabled and not is_terminal
        if self._writes_lines:
            self.disable()

    def on_train_start(self, *args: Any) -> None:
        """Show the length of the whole run, also when it resumes in the middle."""
        super().on_train_start(*args)
        self._set_total()
        self._is_due = OncePerInterval()
        self._started = time.monotonic(), self.trainer.global_step

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        """Lightning would write "Epoch 0"."""
        super().on_train_epoch_start(trainer, *args)
        self._set_total()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar, or write a line."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._writes_lines and self._is_due():
            log.info("%s", self._line(trainer, pl_module))

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The loss and the newest validation score."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics  # type: ignore[return-value]

    def _line(self, trainer: Trainer, pl_module: LightningModule) -> str:
        step, last = trainer.global_step, trainer.max_steps
        since, first = self._started
        parts = [f"step {step:,} of {last:,}"]
        for name, value in self.get_metrics(trainer, pl_module).items():
            parts.append(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}")
        if step > first:
            left = (time.monotonic() - since) / (step - first) * (last - step)
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)

    def _set_total(self) -> None:
        # Lightning's own total is what remains after a resume, while its count starts where the run stopped
        self.train_progress_bar.total = self.trainer.num_training_batches
        self.train_progress_bar.set_description("training")
