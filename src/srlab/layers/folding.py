"""Folding: what only scales and offsets becomes part of the linear map beside it, for evaluation."""

import torch
from torch import Tensor, nn

__all__ = ["fold_batch_norm"]


def fold_batch_norm(convolution: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that includes the batch norm behind it, with its running statistics.

    Args:
        convolution: N channels out, with a bias or without.
        norm: ``nn.BatchNorm2d`` of N channels, or ``nn.Identity`` where it was folded before.

    Returns:
        (N, K, k, k) and (N,).
    """
    weight = convolution.weight
    bias = convolution.bias if convolution.bias is not None else weight.new_zeros(len(weight))
    if isinstance(norm, nn.Identity):
        return weight, bias
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = torch.rsqrt(norm.running_var + norm.eps) * norm.weight
    return weight * factor.view(-1, 1, 1, 1), (bias - norm.running_mean) * factor + norm.bias
