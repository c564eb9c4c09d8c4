"""The training and validation steps of any super-resolution network."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler, OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from srlab.metrics.image_mean import ImageMean
from srlab.metrics.protocol import ProtocolConfig, at_scale
from srlab.metrics.registry import DEFAULT_METRICS, ready_metrics
from srlab.metrics.scoring import score
from srlab.models.any_scale import AnyScale
from srlab.models.network import Network
from srlab.runs.contract import MONITOR, TRAIN_LOSS, validation_key
from srlab.tasks.restoration import restore_padded, result_size


def to_unit_range(image: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 0..255 to floating point in [0, 1], on the image's device."""
    return image.to(dtype) / 255


class SuperResolutionTask(LightningModule):
    """Fits a network to pairs of uint8 images and scores it on the validation sets.

    Logs ``train/loss`` (in the loss's own units, the mean over all samples of the step, whatever devices and
    micro-batches shared them) and, for each metric, ``val/<set>/<metric>`` and its mean over sets,
    ``val/<metric>``, all under one protocol.

    Args:
        network: the super-resolver, RGB in [0, 1] in and out.
        loss: maps (sr_image, hr_image) in [0, 1] to a scalar.
        protocol: how restored images are compared with their references; that of the network's scale, if
            there are sets of others.
        build_optimizer: from the trainable parameters.
        build_scheduler: from the optimizer; stepped after every optimizer step, never by epochs.
        compile_mode: ``torch.compile`` training steps in this mode, for the one size that crops have; None
            for no compilation. Validation, whose images differ in size, is not compiled.
        record: plain data (configuration, protocol, versions) that every checkpoint holds under ``"srlab"``.
        seed: of the random numbers that the network draws in training.
        metrics: names of what is computed in validation; ``psnr``, which selects the best checkpoint, must
            be one of them.

    Raises:
        ValueError: for unknown metrics, or without ``psnr``.
        FileNotFoundError: the weights of a metric are missing.
    """

    def __init__(
        self,
        *,
        network: Network,
        loss: nn.Module,
        protocol: ProtocolConfig,
        build_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        build_scheduler: Callable[[Optimizer], LambdaLR],
        compile_mode: str | None,
        record: Mapping[str, Any],
        seed: int = 0,
        metrics: Sequence[str] = DEFAULT_METRICS,
    ) -> None:
        super().__init__()
        self.metrics = [metric.name for metric in ready_metrics(metrics)]
        if MONITOR not in map(validation_key, self.metrics):
            raise ValueError(
                f"metrics=[{','.join(metrics)}] lacks psnr: {MONITOR} selects the best checkpoint; add it"
            )
        self.network = network
        self.loss = loss
        self.protocol = protocol
        self.seed = seed
        self.record = dict(record)
        self._build_optimizer = build_optimizer
        self._build_scheduler = build_scheduler
        # a function, not a compiled module, whose weights checkpoints would hold again under other names
        self._restore_crops = network.forward
        if compile_mode is not None:
            self._restore_crops = torch.compile(network.forward, mode=compile_mode, dynamic=False)
        self._losses: list[Tensor] = []  # of the step's micro-batches so far
        self._means: dict[tuple[str, str], ImageMean] = {}  # by validation set and metric

    def forward(self, lr_image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, 3, sH, sW)."""
        return self.network(lr_image)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed PyTorch's generators from (seed, optimizer step, micro-batch) alone.

        What a network draws while it trains, such as the branches that SwinIR drops, is then the same before
        and after a resume, without a generator's state in any checkpoint. All processes are seeded alike:
        drop path draws for the joined batch, and each process takes its share.
        """
        trainer = self.trainer
        words = (self.seed % 2**64, trainer.global_step, batch_idx % trainer.accumulate_grad_batches)
        torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0]))

    def restored(self, batch: dict[str, Any]) -> Tensor:
        """What the loss compares with ``hr_image``."""
        return self._restore_crops(to_unit_range(batch["lr_image"]))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Loss of one micro-batch of uint8 pairs."""
        sr_image = self.restored(batch)
        loss = self.loss(sr_image.float(), to_unit_range(batch["hr_image"]))
        self._log_loss(loss, batch_idx)
        return loss

    def _log_loss(self, loss: Tensor, batch_idx: int) -> None:
        # the mean of the step, at its last micro-batch, where the curve has a row: others need no exchange
        trainer = self.trainer
        micro_batch = batch_idx % trainer.accumulate_grad_batches
        self._losses = [*self._losses[:micro_batch], loss.detach()]
        is_last = micro_batch == trainer.accumulate_grad_batches - 1
        if is_last and (trainer.global_step + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            mean = torch.stack(self._losses).mean()
            self.log(TRAIN_LOSS, trainer.strategy.reduce(mean, reduce_op="mean"), prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer over what can be trained, and a schedule counted in optimizer steps."""
        return self._scheduled_optimizer(self.network)

    def _scheduled_optimizer(self, module: nn.Module) -> OptimizerLRSchedulerConfig:
        optimizer = self._build_optimizer([p for p in module.parameters() if p.requires_grad])
        scheduler = self._build_scheduler(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        """Use the configured learning rate in a resumed run, not the one in the checkpoint."""
        for scheduler in self._schedulers():
            rate = scheduler.optimizer.defaults["lr"]
            scheduler.base_lrs = [rate] * len(scheduler.base_lrs)
            for group, factor in zip(scheduler.optimizer.param_groups, scheduler.lr_lambdas, strict=True):
                group["initial_lr"] = rate
                group["lr"] = rate * factor(scheduler.last_epoch)

    def _schedulers(self) -> list[LambdaLR]:
        schedulers = (config.scheduler for config in self.trainer.lr_scheduler_configs)
        return [scheduler for scheduler in schedulers if isinstance(scheduler, LambdaLR)]

    def on_validation_epoch_start(self) -> None:
        """Start an empty mean for each validation set and metric."""
        names = self.trainer.datamodule.validation_names  # type: ignore[attr-defined]
        keys = [(name, metric) for name in names for metric in self.metrics]
        self._means = {key: ImageMean().to(self.device) for key in keys}

    def validation_step(self, sample: dict[str, Any], batch_idx: int) -> None:
        """Restore and score one image; duplicates that even out the ranks' shares are not counted."""
        if not sample["counted"]:
            return
        # in full precision, as evaluate.py scores: one name, one number
        with torch.autocast(self.device.type, enabled=False):
            lr_image, hr_image = to_unit_range(sample["lr_image"])[None], sample["hr_image"]
            protocol = at_scale(self.protocol, sample["scale"], own_scale=self.network.scale)
            size = result_size(self.network, sample, sample["scale"])
            sr_image = restore_padded(self.network, lr_image, protocol.padding, size=size)[0]
            scores = score(sr_image, hr_image, protocol, self.metrics)
        for metric, value in scores.items():
            self._means[sample["set_name"], metric].update(value)

    def on_validation_epoch_end(self) -> None:
        """Log means over images for each set, then over sets."""
        for metric in self.metrics:
            means = {name: mean.compute() for (name, each), mean in self._means.items() if each == metric}
            self.log_dict({validation_key(metric, name): mean.float() for name, mean in means.items()})
            key = validation_key(metric)
            self.log(key, torch.stack(list(means.values())).mean().float(), prog_bar=key == MONITOR)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what the file holds: configuration, versions, step."""
        checkpoint["srlab"] = {**self.record, "step": checkpoint["global_step"]}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Set the loop's counters to the last whole optimizer step.

        The samples of step k are a pure function of k, so that a run resumes as if it had never stopped, even
        if it was saved between the micro-batches of one step.
        """
        step = checkpoint["global_step"]
        batches = step * self.trainer.accumulate_grad_batches
        loop = checkpoint["loops"]["fit_loop"]
        # Where a validation was due, Lightning processes the end of that step again, and counts it again.
        passed_again = batches % int(self.trainer.val_check_interval) == 0
        loop["epoch_loop.state_dict"]["_batches_that_stepped"] = step - passed_again
        progress = loop["epoch_loop.batch_progress"]
        progress["is_last_batch"] = False  # of the one long epoch, if the resumed run is given more steps
        for counter in (progress["current"], progress["total"]):
            counter.update(dict.fromkeys(("ready", "started", "processed", "completed"), batches))


class RandomScaleTask(SuperResolutionTask):
    """Fits a network of any scale to batches each of which has a scale of its own.

    The loss compares all HR pixels of a crop, or those that the data drew (``compared_pixels``), and nothing
    else is computed then. Arguments are those of :class:`SuperResolutionTask`.
    """

    network: AnyScale

    def restored(self, batch: dict[str, Any]) -> Tensor:
        """(B, 3, h, w), or (B, 3, 1, n): as ``hr_image``."""
        lr_image = to_unit_range(batch["lr_image"])
        if "pixels" in batch:
            return self.network.sample(lr_image, batch["size"], batch["pixels"])
        return self.network.upsample(lr_image, batch["size"])
