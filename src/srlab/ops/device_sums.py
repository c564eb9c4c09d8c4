"""Sums over the processes of a distributed training, with gradients."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def sum_over_devices(value: Tensor) -> Tensor:
    """The sum of ``value`` over all processes, each of which must call this equally often; alone, the same.

    Its gradient is the sum of theirs, of which distributed training takes the mean: a function of sums over
    the joined batch trains as on one device.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return value
    return _summed(value)  # type: ignore[arg-type]


# compilers cannot trace collective operations
@torch.compiler.disable
def _summed(value: Tensor) -> Tensor:
    return _Sum.apply(value)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ARG004 as PyTorch calls it
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total
