"""Batch norm over the batches of all devices, so that their number does not change the result.

PyTorch's ``SyncBatchNorm`` needs CUDA, is not a subclass of ``BatchNorm2d``, which networks look for to fold
their norms, and cannot be reverted. This one computes the same function with any back end of
``torch.distributed``.
"""

from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_OVER_IMAGES = (0, 2, 3)


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """``BatchNorm2d`` whose training statistics are those of the batches of all processes together.

    Every process must call it equally often; the sizes of their batches may differ. Parameters, buffers and
    keys are ``BatchNorm2d``'s, and so is the function in evaluation mode or with a single process.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W), which may not be empty, to the same shape and type; statistics in float32 or more."""
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(input)
        return self._synced(input)  # type: ignore[call-issue]

    # compilers cannot trace collective operations
    @torch.compiler.disable
    def _synced(self, features: Tensor) -> Tensor:
        self._check_input_dim(features)
        result, mean, variance = _SyncedNormalization.apply(features, self.weight, self.bias, self.eps)
        # Activation checkpointing calls this again in the backward pass, which must not count twice; in a
        # compiled block nothing but the graph task shows that.
        if torch._C._current_graph_task_id() == -1:
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.num_batches_tracked.add_(1)
            for running, batch in ((self.running_mean, mean), (self.running_var, variance)):
                assert running is not None
                running.lerp_(batch.to(running.dtype), self.momentum)
        return result


class BatchNormSync(TorchSyncBatchNorm):
    """Lightning's plugin for it: norms change their class while ``fit`` runs.

    (A subclass, so that ``Trainer(sync_batchnorm=True)`` accepts it. A single device does not use it.)
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Change the norms of ``model`` in place.

        Raises:
            ValueError: for a norm that cannot be synchronized.
        """
        for name, module in model.named_modules():
            if not isinstance(module, _BatchNorm):
                continue
            is_usual = module.affine and module.track_running_stats and module.momentum is not None
            if type(module) is not nn.BatchNorm2d or not is_usual:
                raise ValueError(
                    f"{name} is {module}, and only BatchNorm2d with parameters, running statistics and a "
                    "momentum can be synchronized over devices; use that, or set trainer.sync_batchnorm=false"
                )
            module.__class__ = SyncedBatchNorm2d
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Undo :meth:`apply`."""
        for module in model.modules():
            if type(module) is SyncedBatchNorm2d:
                module.__class__ = nn.BatchNorm2d  # type: ignore[assignment]
        return model


class _SyncedNormalization(torch.autograd.Function):
    """One exchange of 2 C + 1 numbers in each direction.

    Also returns mean and unbiased variance (C,) over all processes in float64.
    """

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        values = _widened(features)
        count, mean, variance = _global_statistics(values)
        # in float64 up to here: C numbers, whose rounding every pixel would share
        center, inverse_std = (
            _per_channel(numbers.to(values.dtype)) for numbers in (mean, torch.rsqrt(variance + eps))
        )
        ctx.save_for_backward(features, weight, center, inverse_std, count)
        normalized = (values - center) * inverse_std
        result = torch.addcmul(_per_channel(bias), normalized, _per_channel(weight)).to(features.dtype)
        unbiased = variance * (count / (count - 1))
        ctx.mark_non_differentiable(mean, unbiased)
        return result, mean, unbiased

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, center, inverse_std, count = ctx.saved_tensors
        gradient = _widened(gradients[0])
        normalized = (_widened(features) - center) * inverse_std
        # DDP sums these over processes itself; the features' gradient depends on all images
        of_bias, of_weight = gradient.sum(_OVER_IMAGES), (gradient * normalized).sum(_OVER_IMAGES)
        joined = torch.stack([of_bias, of_weight]).double()
        dist.all_reduce(joined)
        mean_gradient, mean_product = map(_per_channel, (joined / count).to(gradient.dtype))
        of_features = (gradient - mean_gradient - normalized * mean_product) * (
            inverse_std * _per_channel(weight)
        )
        return of_features.to(features.dtype), of_weight.to(weight.dtype), of_bias.to(weight.dtype), None


def _global_statistics(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Number of values per channel, their mean and biased variance (C,) in float64 over all processes.

    Processes exchange means and variances, not sums of squares, whose difference would cancel.
    """
    variance, mean = torch.var_mean(values, dim=_OVER_IMAGES, correction=0)
    count = mean.new_full((1,), values.numel() // values.shape[1], dtype=torch.float64)
    own = torch.cat([count, mean.double(), variance.double()])
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own)
    counts, means, variances = torch.stack(parts).split([1, len(mean), len(mean)], dim=1)
    total = counts.sum()
    joined_mean = (counts * means).sum(0) / total
    joined_variance = (counts * (variances + (means - joined_mean).square())).sum(0) / total
    return total, joined_mean, joined_variance


def _per_channel(numbers: Tensor) -> Tensor:
    """(C,) to (C, 1, 1)."""
    return numbers.view(-1, 1, 1)


def _widened(values: Tensor) -> Tensor:
    """Half precision as float32."""
    return values if values.dtype == torch.float64 else values.float()
