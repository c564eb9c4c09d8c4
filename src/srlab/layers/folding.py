"""Folding: norms' factors and offsets become part of the adjacent linear map, for inference."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Foldable(ABC):
    """A module that can fold parts of itself into others."""

    @abstractmethod
    def fold(self) -> None:
        """Fold in place, in evaluation mode without gradients; the module computes the same function."""


def fold_batch_norm(convolution: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that includes the batch norm after it, with its running statistics.

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


def absorb_batch_norm(convolution: nn.Conv2d, norm: nn.Module) -> nn.Identity:
    """Fold a batch norm into the convolution before it, which has a bias; returns the norm's replacement."""
    weight, bias = fold_batch_norm(convolution, norm)
    assert convolution.bias is not None
    convolution.weight.copy_(weight)
    convolution.bias.copy_(bias)
    return nn.Identity()


def move_batch_norm_into(norm: nn.BatchNorm2d, following: nn.Conv2d) -> nn.Identity:
    """Fold a batch norm into the 1x1 convolution after it, which has a bias; returns what replaces it."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert following.bias is not None
    factor = torch.rsqrt(norm.running_var + norm.eps) * norm.weight
    weight = following.weight.flatten(1)
    following.bias.copy_(following.bias + weight @ (norm.bias - norm.running_mean * factor))
    following.weight.copy_((weight * factor).view_as(following.weight))
    return nn.Identity()


def fold_layer_norm(norm: nn.LayerNorm, *following: nn.Linear | nn.Conv2d) -> None:
    """Move factors and offsets of a norm over K channels into the linear maps or 1x1 convolutions after it.

    In place: the norm is left with nothing to learn; each of ``following`` has K channels in, and a bias.
    """
    if norm.weight is None:
        return
    for each in following:
        weight = each.weight.flatten(1)
        assert each.bias is not None
        each.bias.copy_(each.bias + weight @ norm.bias)
        each.weight.copy_((weight * norm.weight).view_as(each.weight))
    norm.elementwise_affine = False
    norm.register_parameter("weight", None)
    norm.register_parameter("bias", None)
