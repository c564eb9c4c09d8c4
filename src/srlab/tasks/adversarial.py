"""The training step of a network and a discriminator, which are updated in turn."""

from collections.abc import Sequence

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from srlab.losses.adversarial import AdversarialLoss
from srlab.runs.contract import DISCRIMINATOR_LOSS
from srlab.tasks.super_resolution import SuperResolutionTask, to_unit_range


class AdversarialTask(SuperResolutionTask):
    """Minimizes an ``AdversarialLoss`` by one step of the network, then one of the discriminator.

    Both have an optimizer and a schedule of the same configuration. ``train/loss`` is the network's,
    ``train/discriminator_loss`` the other's; checkpoints hold both, with the state of both optimizers.

    Gradients are computed and averaged over devices here, each for its own parameters: the discriminator gets
    none from the network's loss, nor the reverse. Arguments are those of :class:`SuperResolutionTask`.
    """

    loss: AdversarialLoss

    @property
    def automatic_optimization(self) -> bool:  # type: ignore[override]
        """No: Lightning has no order of two optimizers."""
        return False

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The network's optimizer, then the discriminator's."""
        return (self._scheduled_optimizer(self.network), self._scheduled_optimizer(self.loss.discriminator))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Train both on uint8 pairs; returns the network's loss."""
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        sr_image = self.restored(batch).float()
        hr_image = to_unit_range(batch["hr_image"])

        loss = self.loss(sr_image, hr_image)
        self._log_loss(loss, batch_idx)
        is_logged = (self.trainer.global_step + 1) % self.trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        self._set_gradients(loss, self.network)
        optimizers[0].step()

        other = self.loss.of_discriminator(sr_image, hr_image)
        self._set_gradients(other, self.loss.discriminator)
        # around Lightning, which would count another step of the run
        optimizers[1].optimizer.step()

        for scheduler in self._schedulers():
            scheduler.step()
        if is_logged:
            self.log(DISCRIMINATOR_LOSS, self.trainer.strategy.reduce(other.detach(), reduce_op="mean"))
        return loss.detach()

    def _set_gradients(self, loss: Tensor, module: nn.Module) -> None:
        """Of the mean over all devices, each with its parameter's strides.

        Fused optimizers pair the elements in the order of memory. ``backward`` makes the strides equal;
        ``grad`` returns those of the kernel, which for convolutions on a CPU are channels last.
        """
        parameters = [each for each in module.parameters() if each.requires_grad]
        gradients: Sequence[Tensor] = torch.autograd.grad(loss, parameters)
        if self.trainer.world_size > 1:
            joined = torch.cat([gradient.flatten() for gradient in gradients])
            joined = self.trainer.strategy.reduce(joined, reduce_op="mean")
            assert isinstance(joined, Tensor)
            gradients = joined.split([each.numel() for each in parameters])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(gradient.view_as(parameter))
