"""Means over images of per-image values, the averages that papers report, as torchmetrics states."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

__all__ = ["ImageMean", "MeanPSNR", "MeanSSIM"]


class ImageMean(Metric):
    """Mean over all counted images of all ranks, each image weighing the same whatever its size.

    Sum and count are float64 and are added up across ranks, so that ranks may hold different numbers of
    images. They stay float64 when the module that holds them is converted: torchmetrics ignores ``.half()``
    and the like but not ``.to(torch.bfloat16)``, with which Lightning's true-precision plugins convert a
    whole task.
    """

    full_state_update = False
    higher_is_better = True
    total: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, value: Tensor | float, counted: Tensor | bool = True) -> None:
        """Add one image's value, or (B,) of several; ``counted`` is False for duplicates."""
        values = torch.as_tensor(value, dtype=torch.float64, device=self.total.device).flatten()
        mask = torch.as_tensor(counted, device=self.total.device).flatten().expand(values.shape)
        self.total = self.total + values[mask].sum()
        self.images = self.images + mask.sum()

    def compute(self) -> Tensor:
        """Mean in float64; not a number where nothing was counted, infinite where a PSNR was."""
        return self.total / self.images

    def _apply(self, fn: Callable[..., Any], exclude_state: Sequence[str] = "") -> nn.Module:
        states = {key: getattr(self, key) for key in self._defaults}
        defaults = dict(self._defaults)
        super()._apply(fn, exclude_state)
        for key, state in states.items():
            device = getattr(self, key).device
            setattr(self, key, state.to(device))
            self._defaults[key] = defaults[key].to(device)  # type: ignore[union-attr]
        return self


class MeanPSNR(ImageMean):
    """Mean of the per-image PSNR in dB; torchmetrics' own class gives the PSNR of the pooled error."""


class MeanSSIM(ImageMean):
    """Mean of the per-image SSIM."""
