"""Bicubic upsampling behind the Network interface: the baseline of every table.

Reference:  MATLAB's ``imresize``, which the papers' tables use.
Deviations: none.
"""

from torch import Tensor

from srlab.models.network import Network
from srlab.ops.reach import Interpolation, Step
from srlab.ops.resize import imresize


class Bicubic(Network):
    """MATLAB's bicubic interpolation; nothing to train.

    Args:
        scale: any positive integer.
    """

    def restore(self, lr_image: Tensor) -> Tensor:
        """Upsample without rounding or clamping."""
        return imresize(lr_image, scale=self.scale, mode="float")

    def spatial_steps(self) -> list[Step]:
        """Four taps."""
        return [Interpolation(self.scale, taps=4)]
