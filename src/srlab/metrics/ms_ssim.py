"""Multi-scale structural similarity (Wang, Simoncelli and Bovik, 2003): SSIM over five halvings."""

import torch
import torch.nn.functional as F
from torch import Tensor

from srlab.metrics.registry import Metric
from srlab.metrics.ssim import WINDOW_SIZE, similarity

# Exponents of the scales, from full size to a sixteenth (section 3.2 of the paper).
_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def _ms_ssim(restored: Tensor, reference: Tensor, peak: float) -> Tensor:
    """Mean over channels of the product over scales; a negative contrast term counts as 0."""
    dtype = torch.promote_types(restored.dtype, torch.float32)
    x, y = restored.to(dtype), reference.to(dtype)
    product = torch.ones(x.shape[:2], dtype=dtype, device=x.device)
    for scale, exponent in enumerate(_EXPONENTS):
        if scale:
            x, y = _halved(x), _halved(y)
        whole, contrast = similarity(x, y, peak)
        # luminance counts at the coarsest scale alone
        factor = whole if scale == len(_EXPONENTS) - 1 else contrast
        product = product * factor.clamp_min(0) ** exponent
    return product.mean(dim=1).to(torch.float64)


def _halved(images: Tensor) -> Tensor:
    """Means of 2x2 pixels; the last row and column of an odd side count twice."""
    height, width = images.shape[-2:]
    return F.avg_pool2d(F.pad(images, (0, width % 2, 0, height % 2), mode="replicate"), 2)


METRIC = Metric(
    name="ms_ssim",
    label="MS-SSIM",
    compute=_ms_ssim,
    higher_is_better=True,
    decimals=4,
    # Four halvings that round up must leave a window: ceil(161 / 16) = 11.
    least_side=2 ** (len(_EXPONENTS) - 1) * (WINDOW_SIZE - 1) + 1,
)
