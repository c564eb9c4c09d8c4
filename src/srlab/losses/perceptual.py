"""A distance of deep features: those of VGG-19.

Paper:      K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
            Recognition", ICLR 2015, configuration E
Reference:  torchvision's file of weights, ``features`` alone; they are not shipped.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srlab.losses.difference import image_difference
from srlab.official_files import official_file

_URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"

# ImageNet's mean and deviation of RGB in [0, 1], as the weights were trained.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)

# 3x3 convolutions of each stage; 2x2 max pooling between stages.
_STAGES = (2, 2, 4, 4, 4)


class PerceptualLoss(nn.Module):
    """Weighted sum over layers of the mean absolute difference of VGG-19's feature maps.

    Source: J. Johnson and others, ECCV 2016; L1 of maps before the ReLU as in ESRGAN (X. Wang and others,
    ECCVW 2018) and Real-ESRGAN.

    Args:
        layers: {name such as ``conv3_4``: weight}.
        file: the weights of VGG-19, see :class:`Vgg19Features`, which also raises its errors.
        sha256: of that file, or how it begins.
    """

    def __init__(self, *, layers: Mapping[str, float], file: str, sha256: str) -> None:
        super().__init__()
        self.weights = dict(layers)
        self.features = Vgg19Features(file=file, sha256=sha256, layers=list(layers))

    def forward(self, sr_image: Tensor, hr_image: Tensor) -> Tensor:
        """(B, 3, H, W) each, in [0, 1], to a scalar, at least float32."""
        ours, theirs = self.features(sr_image), self.features(hr_image.detach())
        terms = [
            weight * image_difference(ours[name], theirs[name]).abs().mean()
            for name, weight in self.weights.items()
        ]
        return torch.stack(terms).sum()


class Vgg19Features(nn.Module):
    """Maps of chosen convolutions, before their ReLU, with frozen weights, which no checkpoint holds.

    Args:
        file: name of the weights in torchvision's folder of downloads, or a path.
        sha256: of that file, or how it begins.
        layers: names such as ``conv3_4``.

    Raises:
        FileNotFoundError: the file is missing; the message names its source and where to put it.
        ValueError: it has other content, or a layer has another name.
    """

    def __init__(self, *, file: str, sha256: str, layers: Sequence[str]) -> None:
        super().__init__()
        numbers = convolution_names()
        unknown = [name for name in layers if name not in numbers]
        if unknown or not layers:
            raise ValueError(
                f"layers of VGG-19 are {', '.join(numbers)}, got {', '.join(unknown) or 'none of them'}"
            )
        self.layers = tuple(layers)
        last = max(map(list(numbers).index, layers))
        self.used = list(numbers)[: last + 1]
        path = official_file(
            file,
            sha256=sha256,
            url=_URL,
            needed_by="the perceptual loss",
            remedy="run `srlab download vgg19`, or choose another loss",
        )
        weights: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        for name in self.used:
            for kind in ("weight", "bias"):
                tensor = weights[f"features.{numbers[name]}.{kind}"]
                self.register_buffer(f"{name}_{kind}", tensor, persistent=False)
        for name, values in (("mean", _MEAN), ("deviation", _DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) RGB in [0, 1], sides of 16 or more for stage 5, to {layer: (B, C, H/2^k, W/2^k)}."""
        maps = (images - self.get_buffer("mean")) / self.get_buffer("deviation")
        found: dict[str, Tensor] = {}
        previous = "conv1"
        for name in self.used:
            stage = name.partition("_")[0]
            if stage != previous:
                maps = F.max_pool2d(maps, 2)
            weight, bias = self.get_buffer(f"{name}_weight"), self.get_buffer(f"{name}_bias")
            maps = F.conv2d(maps, weight, bias, padding=1)
            if name in self.layers:
                found[name] = maps
            maps, previous = F.relu(maps), stage
        return found


def convolution_names() -> dict[str, int]:
    """``conv1_1`` … ``conv5_4``, and their numbers in torchvision's ``features``."""
    names, number = {}, 0
    for stage, count in enumerate(_STAGES, start=1):
        for place in range(1, count + 1):
            names[f"conv{stage}_{place}"] = number
            number += 2  # a ReLU follows each
        number += 1  # the pooling
    return names
