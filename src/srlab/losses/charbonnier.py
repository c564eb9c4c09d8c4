"""A smooth absolute error."""

import torch
from torch import Tensor, nn

from srlab.losses.difference import image_difference, positive


class CharbonnierLoss(nn.Module):
    """Mean of sqrt(d² + epsilon²): an absolute error, smooth at zero (Lai et al., LapSRN, CVPR 2017, eq. 3).

    Args:
        value_range: d is the difference of images in 0..value_range.
        epsilon: in the same unit; LapSRN uses 1e-3 for images in [0, 1].
    """

    def __init__(self, *, value_range: float, epsilon: float) -> None:
        super().__init__()
        self.value_range = positive("value_range", value_range)
        self.epsilon = positive("epsilon", epsilon)

    def forward(self, sr_image: Tensor, hr_image: Tensor) -> Tensor:
        """Two tensors of one shape to a scalar, at least float32."""
        difference = self.value_range * image_difference(sr_image, hr_image)
        return torch.sqrt(difference.square() + self.epsilon**2).mean()
