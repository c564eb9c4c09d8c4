"""Gaussian filters of images."""

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_means(planes: Tensor, side: int, sigma: float) -> Tensor:
    """Gaussian-weighted mean over every window of ``side`` pixels, an odd number, inside (N, 1, H, W)."""
    offsets = torch.arange(side, dtype=planes.dtype, device=planes.device) - side // 2
    weights = torch.exp(-offsets.square() / (2 * sigma**2))
    weights = weights / weights.sum()
    return F.conv2d(F.conv2d(planes, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
