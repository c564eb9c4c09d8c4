"""LPIPS, the learned perceptual distance of Zhang et al. (CVPR 2018), version 0.1 with AlexNet's features.

The weights are not shipped. They are read from the folder that ``SRLAB_LPIPS_WEIGHTS`` names, or from where
torchvision and torchmetrics keep theirs.
"""

import functools
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
import torchmetrics
from torch import Tensor

from srlab.metrics.registry import Metric

_VARIABLE = "SRLAB_LPIPS_WEIGHTS"

# File: where to download it, and how its SHA-256 begins (torchvision's names say it).
_FILES = {
    "alexnet-owt-7be5be79.pth": ("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", "7be5be79"),
    "alex.pth": (
        "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/alex.pth",
        "df73285e",
    ),
}

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
    """The tensors of both files, float32 on the CPU.

    Raises:
        FileNotFoundError: naming the missing file, its source and where to put it.
        ValueError: a file has other content than the official one.
    """
    weights: dict[str, Tensor] = {}
    for name in _FILES:
        content = torch.load(_checked_file(name), map_location="cpu", weights_only=True)
        weights.update({key: tensor for key, tensor in content.items() if not key.startswith("classifier")})
    return weights


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


def _checked_file(name: str) -> Path:
    url, prefix = _FILES[name]
    folders = _folders()
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"metric lpips needs {name}: download {url} into {folders[0]}, or name another folder with "
            f"{_VARIABLE}=FOLDER; or leave lpips out of metrics"
        )
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if not found.startswith(prefix):
        raise ValueError(
            f"{path} is not the official file: its SHA-256 begins with {found[:8]}, not {prefix}; download "
            f"{url} again"
        )
    return path


def _folders() -> list[Path]:
    """Where the files may lie, the first being the one to download to."""
    named = os.environ.get(_VARIABLE)
    # torchmetrics ships the small one of the two, LPIPS's own weights
    shipped = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models"
    return [*([Path(named)] if named else []), Path(torch.hub.get_dir()) / "checkpoints", shipped]


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
