"""Training at random scales."""

from typing import Any

from torch import Tensor

from srlab.models.any_scale import AnyScale
from srlab.tasks.super_resolution import SuperResolutionTask, to_unit_range


class RandomScaleTask(SuperResolutionTask):
    """Fits a network of any scale to batches each of which has a scale of its own.

    The loss compares all HR pixels of a crop, or those that the data drew (``compared_pixels``), and nothing
    else is computed then. Arguments are those of :class:`SuperResolutionTask`.
    """

    network: AnyScale

    def restored(self, batch: dict[str, Any]) -> Tensor:
        """(B, 3, h, w), or (B, 3, 1, n): as ``hr_image``."""
        lr_image = to_unit_range(batch["lr_image"])
        if "pixels" in batch:
            return self.network.sample(lr_image, batch["size"], batch["pixels"])
        return self.network.upsample(lr_image, batch["size"])
