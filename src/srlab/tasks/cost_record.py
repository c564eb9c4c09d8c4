"""What the network of a run costs, logged with the run before its first step."""

import json
import logging
from dataclasses import asdict
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger

from srlab.profiling.costs import Costs, measure_costs
from srlab.tasks.super_resolution import SuperResolutionTask
from srlab.whole_files import whole_file

__all__ = ["CostRecord"]

log = logging.getLogger(__name__)


class CostRecord(Callback):
    """Measures parameters, multiply-adds, latency and peak memory on the first rank's device.

    A run that dies later still leaves them: in ``costs.json`` and in W&B's summary.

    Args:
        folder: the run's folder.
        output_size: height and width of the restored image.
        warmup: forward passes before the clock starts.
        repeats: forward passes timed one by one.
    """

    def __init__(self, *, folder: Path, output_size: tuple[int, int], warmup: int, repeats: int) -> None:
        self.folder = folder
        self.output_size = output_size
        self.warmup = warmup
        self.repeats = repeats
        self.costs: Costs | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and log."""
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, SuperResolutionTask)
        height, width = self.output_size
        log.info("measuring latency and peak memory of restoring one %dx%d image", width, height)
        self.costs = measure_costs(
            pl_module.network,
            output_size=self.output_size,
            device=pl_module.device,
            warmup=self.warmup,
            repeats=self.repeats,
        )
        with whole_file(self.folder / "costs.json") as partial:
            partial.write_text(json.dumps(asdict(self.costs), indent=1) + "\n")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.summary.update(self.costs.summary())
