"""Exponential moving average of a network, BatchNorm statistics included."""

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class ExponentialMovingAverage(WeightAveraging):
    """Validates and saves the moving average of the weights; training continues with the weights themselves.

    Parameters and floating-point buffers are averaged alike, so that BatchNorm's running statistics belong to
    the averaged weights (BasicSR averages parameters alone: an averaged ELAN would keep the statistics that
    it was constructed with). Integer buffers, such as BatchNorm's batch counter, are copied.

    In a checkpoint ``state_dict`` is the average and ``current_model_state`` the weights that a resumed run
    starts from.

    Args:
        decay: weight of the past, 0.999 in the papers' recipes; the first step starts the average.

    Raises:
        ValueError: unless 0 <= decay < 1.
    """

    def __init__(self, *, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(
                f"decay must lie in [0, 1), got {decay}; 0 averages nothing, 0.999 is the papers' choice"
            )

        def average(averaged: Tensor, current: Tensor, _num_averaged: Tensor | int) -> Tensor:
            if not torch.is_floating_point(averaged):
                return current
            return torch.lerp(current, averaged, decay)

        super().__init__(use_buffers=True, avg_fn=average)
