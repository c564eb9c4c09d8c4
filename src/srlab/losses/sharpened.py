"""Losses against sharpened references."""

from torch import Tensor, nn

from srlab.ops.sharpen import unsharp_mask


class SharpenedReference(nn.Module):
    """Another loss, of the restored image and the sharpened reference (Real-ESRGAN, section 3.4).

    Args:
        loss: maps (sr_image, hr_image) to a scalar.
    """

    def __init__(self, *, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, sr_image: Tensor, hr_image: Tensor) -> Tensor:
        """(B, 3, H, W) each, sides of 26 pixels or more, to a scalar."""
        return self.loss(sr_image, unsharp_mask(hr_image))
