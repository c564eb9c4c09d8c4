"""Stochastic depth."""

from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn


def drop_path_schedule(last: float, depths: Sequence[int]) -> Iterator[float]:
    """Probabilities of all blocks of a network in order, growing linearly from 0 to ``last``."""
    return iter(torch.linspace(0, last, sum(depths), device="cpu").tolist())


class DropPath(nn.Module):
    """Drop a residual branch for whole images with ``probability`` while training; survivors are scaled up.

    Processes whose generators are in the same state draw for their joined batch, in the order of their ranks,
    and each takes its own share, so that the result is that of one process.

    Paper: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, arXiv 1603.09382.
    """

    def __init__(self, *, probability: float) -> None:
        super().__init__()
        if not 0.0 <= probability < 1.0:
            raise ValueError(f"drop path probability must be in [0, 1), got {probability}")
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:
        """(B, ...) to the same shape."""
        if not self.training or self.probability == 0.0:
            return branch
        keep = 1.0 - self.probability
        rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        drawn = branch.new_empty((ranks, len(branch)) + (1,) * (branch.ndim - 1)).bernoulli_(keep)
        return branch * (drawn[rank] / keep)
