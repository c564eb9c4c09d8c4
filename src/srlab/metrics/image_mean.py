"""The mean over images, as papers report it, as a torchmetrics metric."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric


class ImageMean(Metric):
    """Mean over all counted images of all ranks, with equal weights whatever their sizes.

    Every value is kept and the sum is rounded once: to the last bit it depends neither on the order of images
    nor on the number of ranks, and equals ``statistics.fmean``. Ranks may hold different numbers of images,
    or none. Values stay float64 when their module is converted.
    """

    full_state_update = False
    higher_is_better = True
    values: list[Tensor] | Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("values", [], dist_reduce_fx="cat")

    @property
    def dtype(self) -> torch.dtype:
        """Of every value; torchmetrics sends an empty tensor of it from a rank without images."""
        return torch.float64

    def update(self, value: Tensor | float, counted: Tensor | bool = True) -> None:
        """Add one image's value, or (B,) of several; ``counted`` is False for duplicates."""
        values = torch.as_tensor(value, dtype=torch.float64, device=self.device).flatten()
        mask = torch.as_tensor(counted, device=self.device).flatten().expand(values.shape)
        assert isinstance(self.values, list)
        self.values.append(values[mask])

    def compute(self) -> Tensor:
        """Mean in float64; NaN if nothing was counted, infinite if a value was."""
        parts = [self.values] if isinstance(self.values, Tensor) else self.values  # one tensor of all ranks
        values = [value for part in parts for value in part.tolist()]
        mean = math.fsum(values) / len(values) if values else math.nan
        return torch.tensor(mean, dtype=torch.float64, device=self.device)

    def _apply(self, fn: Callable[..., Any], exclude_state: Sequence[str] = "") -> nn.Module:
        """Move, but never convert: Lightning's true-precision plugins convert a whole task."""
        kept = self.values
        super()._apply(fn, exclude_state)
        moved = self.device
        self.values = kept.to(moved) if isinstance(kept, Tensor) else [part.to(moved) for part in kept]
        return self
