"""A progress bar that counts optimizer steps' micro-batches of the whole run, not epochs."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar

__all__ = ["RunProgress"]


class RunProgress(TQDMProgressBar):
    """Lightning's bar without epochs (a run has one) and version number (it has none)."""

    def on_train_start(self, *args: Any) -> None:
        """Show the whole run's length, also when it goes on in the middle."""
        super().on_train_start(*args)
        self._say_what_is_counted()

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        """Lightning would say "Epoch 0"."""
        super().on_train_epoch_start(trainer, *args)
        self._say_what_is_counted()

    def _say_what_is_counted(self) -> None:
        # Lightning's own total is what remains after a resume, while its count starts where the run stopped
        self.train_progress_bar.total = self.trainer.num_training_batches
        self.train_progress_bar.set_description("training")

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The loss and the newest validation score."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics  # type: ignore[return-value]
