"""What is plugged into Lightning's Trainer beside callbacks and loggers."""

from typing import Any

from omegaconf import DictConfig

from srlab.app.launch import check_launch
from srlab.tasks.batch_norm_sync import BatchNormSync
from srlab.tasks.checkpoint_io import AtomicCheckpointIO

__all__ = ["trainer_plugins"]


def trainer_plugins(cfg: DictConfig) -> list[Any]:
    """The plugins of a run.

    Args:
        cfg: the composed ``train`` configuration.

    Raises:
        ValueError: if ``trainer.devices`` and ``trainer.num_nodes`` are not the processes that were started,
            or norms could not be joined as ``trainer.sync_batchnorm`` asks.
    """
    check_launch(cfg.trainer.devices, cfg.trainer.num_nodes)
    plugins: list[Any] = [AtomicCheckpointIO()]
    if cfg.trainer.sync_batchnorm:
        plugins.append(BatchNormSync())
    return plugins
