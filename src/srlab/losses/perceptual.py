"""A distance of deep features."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from srlab.losses.difference import image_difference
from srlab.losses.vgg19 import Vgg19Features


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
