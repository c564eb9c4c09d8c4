"""What a network offers whose results may have any size."""

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from srlab.layers.arguments import require_integer
from srlab.models.network import Network, require_image
from srlab.ops.axis import Axis
from srlab.ops.picking import pick_pixels


class AnyScale(Network):
    """A super-resolver of any scale: one set of weights, and a ``scale`` that only ``forward`` depends on."""

    #: Least and largest scale that its authors train with; None: it is not trained.
    published_range: ClassVar[tuple[float, float] | None] = None

    @abstractmethod
    def restore_axes(self, lr_image: Tensor, rows: Axis, columns: Axis) -> Tensor:
        """The wanted pixels of a result.

        Args:
            lr_image: (B, 3, H, W) in [0, 1]: the image, or the part of it in which the axes begin.
            rows: the wanted h rows.
            columns: the wanted w columns.

        Returns:
            (B, 3, h, w), not clamped.
        """

    def restore(self, lr_image: Tensor) -> Tensor:
        """All pixels of a result ``scale`` times as large."""
        height, width = lr_image.shape[-2:]
        return self._restore_size(lr_image, (height * self.scale, width * self.scale))

    def upsample(self, lr_image: Tensor, size: tuple[int, int]) -> Tensor:
        """Restore an image of any size; its sides may have different scales, also below 1.

        Without gradients, pixels are computed in parts of bounded size, a row or more at a time.

        Args:
            lr_image: (B, 3, H, W) in [0, 1].
            size: (h, w) of the result, each at least 1.

        Returns:
            (B, 3, h, w), not clamped; it covers the same area.

        Raises:
            ValueError: ``size`` is not a pair of positive integers, or ``lr_image`` not an RGB image.
        """
        return self._restore_size(lr_image, checked_size(lr_image, size))

    def sample(self, lr_image: Tensor, size: tuple[int, int], pixels: Tensor) -> Tensor:
        """Some pixels of :meth:`upsample`, others for each image; the whole result is not needed for them.

        Args:
            lr_image: (B, 3, H, W) in [0, 1].
            size: (h, w) of the whole result.
            pixels: (B, n) integers below h * w, row by row.

        Returns:
            (B, 3, 1, n), not clamped.

        Raises:
            ValueError: as :meth:`upsample`.
        """
        return pick_pixels(self.upsample(lr_image, size), pixels)

    def _restore_size(self, lr_image: Tensor, size: tuple[int, int]) -> Tensor:
        rows, columns = (Axis.whole(lr_image.shape[2 + axis], size[axis]) for axis in (0, 1))
        return self.restore_axes(lr_image, rows, columns)


def checked_size(lr_image: Tensor, size: tuple[int, int]) -> tuple[int, int]:
    """``size`` as a pair of integers; a ``ValueError`` for anything else, and for what is no RGB image."""
    if len(size) != 2:
        raise ValueError(f"size must be (height, width), got {size}")
    require_image(lr_image)
    height, width = (require_integer(f"each side of size={tuple(size)}", side) for side in size)
    return height, width
