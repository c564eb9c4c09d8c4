"""VGG-19 with random weights in the layout of torchvision's file."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor

# Input channels, output channels and number of each convolution in torchvision's ``features``.
CONVOLUTIONS = (
    *((3, 64, 0), (64, 64, 2), (64, 128, 5), (128, 128, 7)),
    *((128, 256, 10), (256, 256, 12), (256, 256, 14), (256, 256, 16)),
    *((256, 512, 19), (512, 512, 21), (512, 512, 23), (512, 512, 25)),
    *((512, 512, 28), (512, 512, 30), (512, 512, 32), (512, 512, 34)),
)


def random_vgg19(*, last: int = 34) -> dict[str, Tensor]:
    """He's initialization from seed 0, up to the convolution of that number."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for inputs, outputs, number in CONVOLUTIONS:
        if number <= last:
            weight = torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
            tensors[f"features.{number}.weight"] = weight
            tensors[f"features.{number}.bias"] = 0.01 * torch.randn(outputs, generator=generator)
    return tensors


def write_random_vgg19(path: Path, *, last: int = 34) -> str:
    """Write the file; returns its SHA-256."""
    torch.save(random_vgg19(last=last), path)
    return hashlib.sha256(path.read_bytes()).hexdigest()
