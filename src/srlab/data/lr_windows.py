"""LR crops for training that are read from LR files."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srlab.data.lr_pairing import check_lr_size
from srlab.data.sampling import CropDraw
from srlab.data.store import BadImagePolicy, ImageStore
from srlab.terminal.names import some

log = logging.getLogger(__name__)


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

    def __post_init__(self) -> None:
        self._numbers = {image.name: number for number, image in enumerate(self.lr_store.images)}

    def usable(self, numbers: Sequence[int]) -> list[int]:
        """Those HR images whose LR file is readable and of the right size.

        Raises:
            ValueError: naming both files where sizes do not fit, or if no image is left.
        """
        usable, faults = [], []
        for number in numbers:
            image = self.hr_store.images[number]
            if image.name not in self._numbers:
                continue  # its store has warned
            lr_image = self.lr_store.images[self._numbers[image.name]]
            sizes = (lr_image.height, lr_image.width), (image.height, image.width)
            try:
                check_lr_size(self.paths[image.name], *sizes, self.scale, image.name)
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
            image = self.lr_store[self._numbers[self.hr_store.images[number].name]]
            window[:] = image[:, crop.top : crop.top + side, crop.left : crop.left + side]
        return windows

    def digest(self, name: str) -> str:
        """Hash of the LR file of an HR image."""
        return self.lr_store.images[self._numbers[name]].digest
