"""Sums of losses."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class TotalLoss(nn.Module):
    """The sum of several losses of the same images, whose weights are their own arguments.

    Args:
        terms: losses by names of your choice.
    """

    def __init__(self, *, terms: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not terms:
            raise ValueError("loss.terms must name at least one loss, got none")
        self.terms = nn.ModuleDict(dict(terms))

    def forward(self, sr_image: Tensor, hr_image: Tensor) -> Tensor:
        """(B, 3, H, W) each to a scalar."""
        values = [term(sr_image, hr_image) for term in self.terms.values()]
        return torch.stack(values).sum()
