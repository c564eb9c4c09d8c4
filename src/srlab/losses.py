"""Pixel losses between images in [0, 1]."""

import torch
from torch import Tensor, nn

__all__ = ["CharbonnierLoss", "L1Loss"]


class L1Loss(nn.Module):
    """Mean absolute error of the images as if they lay in 0..value_range.

    Args:
        value_range: 1, or 255 for recipes whose networks work in 0..255 (ELAN's): the gradients are that much
            larger.
    """

    def __init__(self, *, value_range: float) -> None:
        super().__init__()
        self.value_range = _positive("value_range", value_range)

    def forward(self, sr_image: Tensor, hr_image: Tensor) -> Tensor:
        """Two tensors of one shape to a scalar, at least float32."""
        return self.value_range * _difference(sr_image, hr_image).abs().mean()


class CharbonnierLoss(nn.Module):
    """Mean of sqrt(d² + epsilon²): an absolute error, smooth at zero (Lai et al., LapSRN, CVPR 2017, eq. 3).

    Args:
        value_range: d is the difference of images in 0..value_range.
        epsilon: in the same unit; LapSRN uses 1e-3 for images in [0, 1].
    """

    def __init__(self, *, value_range: float, epsilon: float) -> None:
        super().__init__()
        self.value_range = _positive("value_range", value_range)
        self.epsilon = _positive("epsilon", epsilon)

    def forward(self, sr_image: Tensor, hr_image: Tensor) -> Tensor:
        """Two tensors of one shape to a scalar, at least float32."""
        difference = self.value_range * _difference(sr_image, hr_image)
        return torch.sqrt(difference.square() + self.epsilon**2).mean()


def _difference(sr_image: Tensor, hr_image: Tensor) -> Tensor:
    if sr_image.shape != hr_image.shape:
        raise ValueError(
            f"sr_image and hr_image must have one shape (no broadcasting), got {tuple(sr_image.shape)} and "
            f"{tuple(hr_image.shape)}; is the network's scale the data's?"
        )
    dtype = torch.promote_types(torch.promote_types(sr_image.dtype, hr_image.dtype), torch.float32)
    return sr_image.to(dtype) - hr_image.to(dtype)


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value}")
    return value
