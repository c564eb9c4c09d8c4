"""LR files of HR images: whether they belong together, and training crops from them."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srlab.data.bicubic_window import downsample
from srlab.data.sampling import CropDraw
from srlab.data.store import BadImagePolicy, ImageStore, StoredImage
from srlab.terminal.names import some

log = logging.getLogger(__name__)

# All 57 LR files of Set5 and Set14 equal the exact bicubic of their HR images bit for bit (infinite dB); for
# two different pictures of one size there, the LR of one never exceeds 10.3 dB against that of the other.
_LEAST_LR_PSNR = 20.0

# For a small displacement d the squared error grows as d**2, whatever the picture. Moved back by a whole
# pixel, an LR file displaced by d has ((1 - d) / d)**2 of the error: below a quarter where d is above 2/3.
_LEAST_GAIN = 4.0


@dataclass(eq=False, kw_only=True)
class LrPairs:
    """The LR files of a training set, decoded.

    Args:
        hr_store: the HR images.
        lr_store: LR images under the names of their HR images; unreadable ones are absent.
        paths: of the LR files, for messages.
        scale: HR side / LR side.
        on_bad_image: for an LR file of another size than its HR image requires.
    """

    hr_store: ImageStore
    lr_store: ImageStore
    paths: Mapping[str, Path]
    scale: int
    on_bad_image: BadImagePolicy

    def usable(self, numbers: Sequence[int]) -> list[int]:
        """Those HR images whose LR file is readable and of the right size.

        Raises:
            ValueError: naming both files where sizes do not fit, or if no image is left.
        """
        usable, faults = [], []
        for number in numbers:
            image = self.hr_store.images[number]
            if image.name not in self.lr_store.numbers:
                continue  # its store has warned
            lr_image = self.lr_store.images[self.lr_store.numbers[image.name]]
            try:
                check_lr_size(self.paths[image.name], lr_image, image, self.scale, image.name)
                usable.append(number)
            except ValueError as fault:
                faults.append(str(fault))
        if faults and self.on_bad_image == "error":
            raise ValueError(
                f"{len(faults)} of {len(numbers)} LR files do not fit their HR images: {some(faults, '; ')}; "
                "repair or remove these pairs, set another scale, or set data.on_bad_image=skip"
            )
        for fault in faults:
            log.warning("skipped: %s", fault)
        if not usable:
            raise ValueError("no HR image has an LR file that fits; see the warnings")
        return usable

    def windows(self, crops: Sequence[tuple[int, CropDraw]], side: int) -> NDArray[np.uint8]:
        """(B, 3, side, side): the LR windows of crops of HR images, before their turns."""
        windows = np.empty((len(crops), 3, side, side), np.uint8)
        for (number, crop), window in zip(crops, windows, strict=True):
            image = self.lr_store[self.lr_store.numbers[self.hr_store.images[number].name]]
            window[:] = image[:, crop.top : crop.top + side, crop.left : crop.left + side]
        return windows


def check_lr_size(path: Path, lr_image: StoredImage, hr_image: StoredImage, scale: int, name: str) -> None:
    """Raise a ``ValueError`` if an LR file is not as large as its HR image divided by ``scale``."""
    height, width = hr_image.height // scale, hr_image.width // scale
    if (lr_image.height, lr_image.width) != (height, width):
        raise ValueError(
            f"{path} measures {lr_image.height}x{lr_image.width}, but its HR image {name} of "
            f"{hr_image.height}x{hr_image.width} requires {height}x{width} at x{scale}"
        )


def check_bicubic(
    path: Path, lr_image: NDArray[np.uint8], hr_image: NDArray[np.uint8], scale: int, name: str
) -> None:
    """Raise a ``ValueError`` if an LR file shows another picture; warn if it looks displaced."""
    height, width = (side // scale * scale for side in hr_image.shape[1:])
    made = downsample(hr_image[:, :height, :width], scale)
    psnr = 10 * math.log10(255**2 / max(_squared_error(lr_image, made), 1e-9))
    if psnr < _LEAST_LR_PSNR:
        raise ValueError(
            f"the LR file {path} does not belong to its HR image {name}: its PSNR against the bicubic "
            f"of that is {psnr:.1f} dB, less than {_LEAST_LR_PSNR:.0f} dB"
        )
    down, right = _displacement(lr_image, made)
    if (down, right) != (0, 0):
        log.warning(
            "the LR file %s looks displaced by (%+d, %+d) pixels (rows, columns): moved back, it fits the "
            "bicubic of its HR image %s far better; it is used as it is",
            *(path, down, right, name),
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
