"""Mean absolute error."""

from torch import Tensor, nn

from srlab.losses.difference import image_difference, positive


class L1Loss(nn.Module):
    """Mean absolute error of the images as if they lay in 0..value_range.

    Args:
        value_range: 1, or 255 for recipes whose networks work in 0..255 (ELAN's): the gradients are that much
            larger.
    """

    def __init__(self, *, value_range: float) -> None:
        super().__init__()
        self.value_range = positive("value_range", value_range)

    def forward(self, sr_image: Tensor, hr_image: Tensor) -> Tensor:
        """Two tensors of one shape to a scalar, at least float32."""
        return self.value_range * image_difference(sr_image, hr_image).abs().mean()
