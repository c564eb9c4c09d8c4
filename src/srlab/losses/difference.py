"""The difference of two images, for pixel losses."""

import torch
from torch import Tensor


def image_difference(sr_image: Tensor, hr_image: Tensor) -> Tensor:
    """Elementwise difference, at least float32.

    Raises:
        ValueError: the shapes differ; broadcasting would hide a network of another scale.
    """
    if sr_image.shape != hr_image.shape:
        raise ValueError(
            f"sr_image and hr_image must have one shape (no broadcasting), got {tuple(sr_image.shape)} and "
            f"{tuple(hr_image.shape)}; is the network's scale the data's?"
        )
    dtype = torch.promote_types(torch.promote_types(sr_image.dtype, hr_image.dtype), torch.float32)
    return sr_image.to(dtype) - hr_image.to(dtype)


def positive(name: str, value: float) -> float:
    """``value``, or a ``ValueError`` that names it."""
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value}")
    return value
