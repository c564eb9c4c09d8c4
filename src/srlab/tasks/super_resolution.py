"""The training loop of a super-resolver. It knows the loop, not the network."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from srlab.extensions.lab.memory import explain_out_of_memory
from srlab.metrics.image_mean import MeanPSNR, MeanSSIM
from srlab.metrics.protocol import ProtocolConfig
from srlab.metrics.scoring import score
from srlab.models.network import Network
from srlab.tasks.evaluation import restore

__all__ = ["MONITOR", "SuperResolutionTask", "to_unit_range"]

# Mean over the validation sets of the mean per-image PSNR: what chooses best.ckpt and what sweeps maximise.
MONITOR = "val/psnr"


def to_unit_range(image: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 0..255 to floating point in [0, 1], on the image's device."""
    return image.to(dtype) / 255


class SuperResolutionTask(LightningModule):
    """Fits a network to pairs of uint8 images and scores it on the validation sets.

    Logs ``train/loss`` (in the loss's own units, the mean over all samples of the step, whatever devices and
    micro-batches shared them), ``val/<set>/psnr`` in dB, ``val/<set>/ssim`` and their mean
    over sets, ``val/psnr`` and ``val/ssim``, all under one protocol.

    Args:
        network: the super-resolver, RGB in [0, 1] in and out.
        loss: maps (sr_image, hr_image) in [0, 1] to a scalar.
        protocol: how restored images are compared with their references.
        build_optimizer: from the trainable parameters.
        build_scheduler: from the optimizer; stepped after every optimizer step, never by epochs.
        compile_mode: run training steps through ``torch.compile`` in this mode, for the one size that crops
            have; None: not at all. Validation, whose images all differ in size, stays as it is.
        record: plain data (configuration, protocol, versions) that every checkpoint carries under
        ``"srlab"``.
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
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.protocol = protocol
        self.record = dict(record)
        self._build_optimizer = build_optimizer
        self._build_scheduler = build_scheduler
        # a function, not a module: checkpoints would hold that one's weights, too, under other names
        self._restore_crops = network.forward
        if compile_mode is not None:
            self._restore_crops = torch.compile(network.forward, mode=compile_mode, dynamic=False)
        self._losses: list[Tensor] = []  # of the step's micro-batches so far
        self._psnr: dict[str, MeanPSNR] = {}
        self._ssim: dict[str, MeanSSIM] = {}

    def forward(self, lr_image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, 3, sH, sW)."""
        return self.network(lr_image)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of one micro-batch of uint8 pairs."""
        sr_image = self._restore_crops(to_unit_range(batch["lr_image"]))
        loss = self.loss(sr_image.float(), to_unit_range(batch["hr_image"]))
        self._log_loss(loss.detach(), batch_idx)
        return loss

    def _log_loss(self, loss: Tensor, batch_idx: int) -> None:
        """Log the mean loss of the step with its last micro-batch, where the curve has a row.

        Other steps exchange nothing between devices and wait for none.
        """
        trainer = self.trainer
        micro_batch = batch_idx % trainer.accumulate_grad_batches
        self._losses = [*self._losses[:micro_batch], loss]
        is_last = micro_batch == trainer.accumulate_grad_batches - 1
        if is_last and (trainer.global_step + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            mean = torch.stack(self._losses).mean()
            self.log("train/loss", trainer.strategy.reduce(mean, reduce_op="mean"), prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer over what can be trained, and a schedule counted in optimizer steps."""
        optimizer = self._build_optimizer([p for p in self.network.parameters() if p.requires_grad])
        self._configured_rates = [group["lr"] for group in optimizer.param_groups]
        scheduler = self._build_scheduler(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        """A resumed run follows the learning rate of its configuration now, not the one in the checkpoint."""
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, LambdaLR)
        scheduler.base_lrs = list(self._configured_rates)
        groups = zip(scheduler.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
        for group, rate, factor in groups:
            group["initial_lr"] = rate
            group["lr"] = rate * factor(scheduler.last_epoch)

    def on_validation_epoch_start(self) -> None:
        """One pair of means for each validation set, empty."""
        for name in self.trainer.datamodule.validation_names:  # type: ignore[attr-defined]
            self._psnr[name] = MeanPSNR().to(self.device)
            self._ssim[name] = MeanSSIM().to(self.device)

    def validation_step(self, sample: dict[str, Any], batch_idx: int) -> None:
        """Restore and score one image; duplicates that even out the ranks' shares are not counted."""
        if not sample["counted"]:
            return
        lr_image = to_unit_range(sample["lr_image"])[None]
        height, width = lr_image.shape[-2:]
        # in full precision, as evaluate.py scores: one name, one number
        with (
            torch.autocast(self.device.type, enabled=False),
            explain_out_of_memory((height, width), self.device),
        ):
            sr_image = restore(self.network, lr_image, self.protocol.padding)[0]
        result = score(sr_image, sample["hr_image"], self.protocol)
        self._psnr[sample["set_name"]].update(result.psnr)
        self._ssim[sample["set_name"]].update(result.ssim)

    def on_validation_epoch_end(self) -> None:
        """Means over images for each set, then over sets."""
        scores = {
            f"val/{name}/{metric}": mean.compute()
            for metric, means in (("psnr", self._psnr), ("ssim", self._ssim))
            for name, mean in means.items()
        }
        self.log_dict({key: value.float() for key, value in scores.items()})
        for metric in ("psnr", "ssim"):
            values = [value for key, value in scores.items() if key.endswith(f"/{metric}")]
            self.log(f"val/{metric}", torch.stack(values).mean().float(), prog_bar=f"val/{metric}" == MONITOR)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the file say what it holds."""
        checkpoint["srlab"] = {**self.record, "step": checkpoint["global_step"]}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Set the loop's counters to the last whole optimizer step.

        The samples of step k are a pure function of k, so that a run goes on as if it had never stopped, even
        if it was saved between the micro-batches of one step.
        """
        step = checkpoint["global_step"]
        batches = step * self.trainer.accumulate_grad_batches
        loop = checkpoint["loops"]["fit_loop"]
        # Where a validation was due, Lightning passes the end of that step once more and counts it again.
        passed_again = batches % int(self.trainer.val_check_interval) == 0
        loop["epoch_loop.state_dict"]["_batches_that_stepped"] = step - passed_again
        progress = loop["epoch_loop.batch_progress"]
        progress["is_last_batch"] = (
            False  # not of the one long epoch, when the resumed run is given more steps
        )
        for counter in (progress["current"], progress["total"]):
            counter.update(dict.fromkeys(("ready", "started", "processed", "completed"), batches))
