"""LPIPS, the learned perceptual distance of Zhang et al. (CVPR 2018), version 0.1 with AlexNet's features.

AlexNet's weights are not shipped. They are read from where torchvision keeps its downloads; LPIPS's own come
with torchmetrics.
"""

import functools
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
import torchmetrics
from torch import Tensor

from srlab.metrics.registry import Metric
from srlab.official_files import official_file

_ALEXNET = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
# Its SHA-256 begins so, as the name says.
_SHA256 = "7be5be79"

# Normalizes RGB in [-1, 1] as AlexNet was trained on it (ImageNet's mean and deviation, rescaled).
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)

# AlexNet's convolutions as torchvision numbers them: (layer, stride, padding, max pooling before it).
_CONVOLUTIONS = ((0, 4, 2, False), (3, 1, 2, True), (6, 1, 1, True), (8, 1, 1, False), (10, 1, 1, False))
_EPSILON = 1e-10


def lpips_distance(images: Tensor, others: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Distance of each pair of images.

    Args:
        images: (B, 3, H, W) RGB in [-1, 1].
        others: likewise.
        weights: ``features.N.weight`` and ``.bias`` of AlexNet, ``linK.model.1.weight`` of LPIPS.

    Returns:
        (B,): for each layer, squared differences of unit-length features, weighted by channel and averaged
        over positions; then the sum over layers.
    """
    total = torch.zeros(len(images), dtype=images.dtype, device=images.device)
    pairs = zip(_features(images, weights), _features(others, weights), strict=True)
    for number, (first, second) in enumerate(pairs):
        difference = (_unit_length(first) - _unit_length(second)).square()
        total = total + F.conv2d(difference, weights[f"lin{number}.model.1.weight"]).mean(dim=(1, 2, 3))
    return total


def read_weights() -> dict[str, Tensor]:
    """The tensors of AlexNet's convolutions and of LPIPS, float32 on the CPU.

    Raises:
        FileNotFoundError: AlexNet's file is missing; the message names its source and where to put it.
        ValueError: it has other content than the official one.
    """
    path = official_file(
        Path(_ALEXNET).name,
        sha256=_SHA256,
        url=_ALEXNET,
        needed_by="metric lpips",
        remedy="leave lpips out of metrics",
    )
    shipped = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models" / "alex.pth"
    weights = torch.load(path, map_location="cpu", weights_only=True)
    return weights | torch.load(shipped, map_location="cpu", weights_only=True)


def _lpips(restored: Tensor, reference: Tensor, peak: float) -> Tensor:
    weights = _weights_on(restored.device)
    first, second = (images.to(torch.float32) / peak * 2 - 1 for images in (restored, reference))
    return lpips_distance(first, second, weights).to(torch.float64)


def _features(images: Tensor, weights: Mapping[str, Tensor]) -> list[Tensor]:
    """AlexNet's maps after each of its five convolutions and ReLU."""
    shift, scale = (images.new_tensor(values).view(1, 3, 1, 1) for values in (_SHIFT, _SCALE))
    maps = (images - shift) / scale
    found = []
    for layer, stride, padding, pooled in _CONVOLUTIONS:
        if pooled:
            maps = F.max_pool2d(maps, kernel_size=3, stride=2)
        weight, bias = weights[f"features.{layer}.weight"], weights[f"features.{layer}.bias"]
        maps = F.relu(F.conv2d(maps, weight, bias, stride=stride, padding=padding))
        found.append(maps)
    return found


def _unit_length(maps: Tensor) -> Tensor:
    return maps / (maps.square().sum(dim=1, keepdim=True).sqrt() + _EPSILON)


@functools.lru_cache(maxsize=4)
def _weights_on(device: torch.device) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in read_weights().items()}


METRIC = Metric(
    name="lpips",
    label="LPIPS",
    compute=_lpips,
    higher_is_better=False,
    decimals=4,
    # below, the second pooling leaves nothing
    least_side=31,
    needs_rgb=True,
    prepare=lambda: _weights_on(torch.device("cpu")),
)
