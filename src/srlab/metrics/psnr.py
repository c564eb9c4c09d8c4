"""Peak signal-to-noise ratio of each image.

torchmetrics' function takes logarithms of its constants in float32 (up to 2e-6 dB off), and its class pools
the error over images; papers average per-image values.
"""

import torch
from torch import Tensor

from srlab.metrics.registry import Metric


def _psnr(restored: Tensor, reference: Tensor, peak: float) -> Tensor:
    """In dB; infinite where the images are equal."""
    error = restored.to(torch.float64) - reference.to(torch.float64)
    return 10 * torch.log10(peak**2 / error.square().mean(dim=(1, 2, 3)))


METRIC = Metric(name="psnr", label="PSNR", compute=_psnr, higher_is_better=True, decimals=3, unit="dB")
