"""Bicubic upsampling behind the Network interface: the baseline of every table.

Reference:  MATLAB's ``imresize``, which the papers' tables use.
Deviations: none.
"""

from torch import Tensor

from srlab.models.any_scale import AnyScale
from srlab.ops.axis import Axis
from srlab.ops.reach import Interpolation, Step
from srlab.ops.resize import imresize_part


class Bicubic(AnyScale):
    """MATLAB's bicubic interpolation; nothing to train.

    Args:
        scale: any positive integer.
    """

    def restore_axes(self, lr_image: Tensor, rows: Axis, columns: Axis) -> Tensor:
        """Upsample without rounding or clamping; what becomes smaller is antialiased."""
        return imresize_part(lr_image, rows, columns)

    def spatial_steps(self) -> list[Step]:
        """Four taps."""
        return [Interpolation(self.scale, taps=4)]
