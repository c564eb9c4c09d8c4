"""What the network of a run costs, logged with the run before its first step."""

import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger

from srlab.atomic_files import atomic_write
from srlab.config import OVER_LATENCY_LIMIT
from srlab.extensions.lab.costs import Costs, measure_costs
from srlab.tasks.super_resolution import SuperResolutionTask

__all__ = ["CostRecord"]

log = logging.getLogger(__name__)


class CostRecord(Callback):
    """Measures parameters, multiply-adds, latency and peak memory on the first rank's device.

    A run that dies later still leaves them: in ``costs.json`` and in W&B's summary. A network that is too
    slow is not trained: the program ends on all ranks, with an exit status of its own. A run that goes on was
    fast enough when it began; what it has learnt is not given up for a clock that now reads otherwise.

    Args:
        folder: the run's folder.
        output_size: height and width of the restored image.
        warmup: forward passes before the clock starts.
        repeats: forward passes timed one by one.
        limit_ms: median milliseconds of a forward pass that are not too many; None for no limit.
    """

    def __init__(
        self,
        *,
        folder: Path,
        output_size: tuple[int, int],
        warmup: int,
        repeats: int,
        limit_ms: float | None,
    ) -> None:
        self.folder = folder
        self.output_size = output_size
        self.warmup = warmup
        self.repeats = repeats
        self.limit_ms = limit_ms
        self.costs: Costs | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and log.

        Raises:
            SystemExit: the network is slower than the limit.
        """
        assert isinstance(pl_module, SuperResolutionTask)
        if trainer.is_global_zero:
            self._measure(trainer, pl_module)
        if self.limit_ms is not None and trainer.ckpt_path is None:
            self._check_limit(trainer, self.limit_ms)

    def _measure(self, trainer: Trainer, pl_module: SuperResolutionTask) -> None:
        height, width = self.output_size
        log.info("measuring latency and peak memory of restoring one %dx%d image", width, height)
        self.costs = measure_costs(
            pl_module.network,
            output_size=self.output_size,
            device=pl_module.device,
            warmup=self.warmup,
            repeats=self.repeats,
        )
        with atomic_write(self.folder / "costs.json") as partial:
            partial.write_text(json.dumps(asdict(self.costs), indent=1) + "\n")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.summary.update(self.costs.summary())

    def _check_limit(self, trainer: Trainer, limit_ms: float) -> None:
        is_over = self.costs is not None and self.costs.latency.median_ms > limit_ms
        if self.costs is not None and is_over:
            log.error(
                "not trained: the network takes %.2f ms where latency.limit_ms=%g; %s",
                *(self.costs.latency.median_ms, limit_ms, self.costs.latency),
            )
        if trainer.strategy.reduce_boolean_decision(is_over, all=False):
            sys.exit(OVER_LATENCY_LIMIT)
