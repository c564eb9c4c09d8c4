"""A fidelity loss and an adversarial one: what a network and its discriminator minimize in turn."""

import torch.nn.functional as F
from torch import Tensor, nn

from srlab.losses.difference import positive


class AdversarialLoss(nn.Module):
    """``fidelity`` plus ``weight`` times the non-saturating loss of I. Goodfellow and others, NeurIPS 2014.

    With the discriminator's logits D: the network minimizes the mean of softplus(-D(sr)), the discriminator
    that of softplus(-D(hr)) plus that of softplus(D(sr)).

    Args:
        weight: of the adversarial loss, 0.1 in Real-ESRGAN.
        fidelity: maps (sr_image, hr_image) to a scalar.
        discriminator: images to logits, one or one for each pixel. It has an optimizer of its own.
    """

    def __init__(self, *, weight: float, fidelity: nn.Module, discriminator: nn.Module) -> None:
        super().__init__()
        self.weight = positive("weight", weight)
        self.fidelity = fidelity
        self.discriminator = discriminator

    def forward(self, sr_image: Tensor, hr_image: Tensor) -> Tensor:
        """What the network minimizes: (B, 3, H, W) each, HR in [0, 1], to a scalar."""
        adversarial = F.softplus(-self.discriminator(sr_image).float()).mean()
        return self.fidelity(sr_image, hr_image) + self.weight * adversarial

    def of_discriminator(self, sr_image: Tensor, hr_image: Tensor) -> Tensor:
        """What the discriminator minimizes; the network gets no gradient from it."""
        real = F.softplus(-self.discriminator(hr_image).float()).mean()
        return real + F.softplus(self.discriminator(sr_image.detach()).float()).mean()
