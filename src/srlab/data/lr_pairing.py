"""Whether an LR file belongs to its HR image."""

import logging
import math
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srlab.data.bicubic_window import downsample

log = logging.getLogger(__name__)

# All 57 LR files of Set5 and Set14 equal the exact bicubic of their HR images bit for bit (infinite dB); for
# two different pictures of one size there, the LR of one never exceeds 10.3 dB against that of the other.
_LEAST_LR_PSNR = 20.0

# For a small displacement d the squared error grows as d**2, whatever the picture. Moved back by a whole
# pixel, an LR file displaced by d has ((1 - d) / d)**2 of the error: below a quarter where d is above 2/3.
_LEAST_GAIN = 4.0


def check_lr(
    path: Path, lr_image: NDArray[np.uint8], hr_image: NDArray[np.uint8], scale: int, image: str
) -> None:
    """Compare an LR file with the exact bicubic of its HR image; warn if it looks displaced.

    Raises:
        ValueError: for another size or another picture; it names the HR image as ``image``.
    """
    hr_size = hr_image.shape[1], hr_image.shape[2]
    check_lr_size(path, (lr_image.shape[1], lr_image.shape[2]), hr_size, scale, image)
    height, width = (side // scale for side in hr_size)
    made = downsample(hr_image[:, : height * scale, : width * scale], scale)
    psnr = 10 * math.log10(255**2 / max(_squared_error(lr_image, made), 1e-9))
    if psnr < _LEAST_LR_PSNR:
        raise ValueError(
            f"the LR file {path} does not belong to its HR image {image}: its PSNR against the bicubic "
            f"of that is {psnr:.1f} dB, less than {_LEAST_LR_PSNR:.0f} dB"
        )
    down, right = _displacement(lr_image, made)
    if (down, right) != (0, 0):
        log.warning(
            "the LR file %s looks displaced by (%+d, %+d) pixels (rows, columns): moved back, it fits the "
            "bicubic of its HR image %s far better; it is used as it is",
            *(path, down, right, image),
        )


def check_lr_size(
    path: Path, found: tuple[int, int], hr_size: tuple[int, int], scale: int, image: str
) -> None:
    """Raise a ``ValueError`` if an LR file is not as large as its HR image divided by ``scale``."""
    height, width = (side // scale for side in hr_size)
    if found != (height, width):
        raise ValueError(
            f"{path} measures {found[0]}x{found[1]}, but its HR image {image} of {hr_size[0]}x{hr_size[1]} "
            f"requires {height}x{width} at x{scale}"
        )


def _displacement(lr_image: NDArray[np.uint8], made: NDArray[np.uint8]) -> tuple[int, int]:
    """By which the inner part of the LR file fits the bicubic far better, or (0, 0)."""
    height, width = made.shape[1:]
    if min(height, width) < 3 or np.array_equal(lr_image, made):
        return 0, 0
    inner = lr_image[:, 1:-1, 1:-1]
    errors: dict[tuple[int, int], float] = {}
    for down, right in product((-1, 0, 1), repeat=2):
        moved = made[:, 1 - down : height - 1 - down, 1 - right : width - 1 - right]
        errors[down, right] = _squared_error(inner, moved)
    best = min(errors, key=errors.__getitem__)
    return best if errors[0, 0] > _LEAST_GAIN * errors[best] else (0, 0)


def _squared_error(lr_image: NDArray[np.uint8], made: NDArray[np.uint8]) -> float:
    """Mean; a gray image is compared with all three channels of the other."""
    return float(np.mean((lr_image.astype(np.float64) - made) ** 2))
