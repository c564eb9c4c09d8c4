"""Whole images with references, for validation and scoring."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from srlab.data.bicubic_window import shrink
from srlab.data.sources import ImageFile, ImageSet
from srlab.data.store import BadImagePolicy, ImageStore, open_store

__all__ = ["EvaluationSet", "EvaluationSets", "RankShare"]

log = logging.getLogger(__name__)

# Against the exact bicubic of their HR images, all 57 LR files of Set5 and Set14 are equal bit for bit
# (infinite dB); of two pictures of one size there, one's LR never comes above 10.3 dB of the other's.
_LEAST_LR_PSNR = 20.0


class EvaluationSet:
    """The images of one set with LR from its files or else made by MATLAB's bicubic in 8 bits.

    HR is cropped at the bottom and right to a multiple of the scale. A gray HR stays (1, H, W); its LR is
    replicated to three channels. Samples are dicts: ``lr_image``, ``hr_image`` (uint8), ``name``,
    ``set_name``, ``lr_source`` (``"file"`` or ``"made"``) and ``counted``, always True here. LR files are
    decoded into a store beside that of HR: what happens to the files later does not matter.

    Args:
        image_set: names, and where LR files would be.
        store: its decoded HR images.
        scale: of LR against HR.
        on_bad_image: what happens to an image smaller than the scale.

    Raises:
        ValueError: if an LR file is missing, unreadable or does not measure what its HR image asks for, or if
            no image is left; when a sample is read, if its LR file shows another picture.
    """

    def __init__(
        self, *, image_set: ImageSet, store: ImageStore, scale: int, on_bad_image: BadImagePolicy
    ) -> None:
        self.name = image_set.name
        self.store = store
        self.scale = scale
        self.hr_paths = {file.name: file.path.absolute() for file in image_set.files}
        """Source of each image, by name."""
        self.images: list[int] = []
        self._lr_files: list[ImageFile] = []
        for number, image in enumerate(store.images):
            if min(image.height, image.width) < scale:
                _refuse(
                    f"{image.name} of {self.name} measures {image.height}x{image.width}", scale, on_bad_image
                )
                continue
            self.images.append(number)
            path = image_set.lr_path(image.name, scale)
            if path is not None:
                self._lr_files.append(ImageFile(image.name, path))
        if not self.images:
            raise ValueError(f"no image of {self.name} is left to score; {image_set.if_none_usable}")
        self.lr_store = self._open_lr_store() if self._lr_files else None
        """The LR files in the order of ``images``; None where LR is made."""

    def _open_lr_store(self) -> ImageStore:
        lr_set = ImageSet(f"{self.name}_LRx{self.scale}", tuple(self._lr_files))
        lr_store = open_store(lr_set, cache=self.store.folder.parent, on_bad_image="error")
        for number, file, lr_image in zip(self.images, self._lr_files, lr_store.images, strict=True):
            hr_image = self.store.images[number]
            found, hr_size = (lr_image.height, lr_image.width), (hr_image.height, hr_image.width)
            _check_size(file.path, found, hr_size, self.scale)
        return lr_store

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = self.images[index]
        image = self.store[number]
        height, width = (side // self.scale * self.scale for side in image.shape[1:])
        hr_image = np.array(image[:, :height, :width])
        name = self.store.images[number].name
        lr_image = made = shrink(hr_image, self.scale)
        if self.lr_store is not None:
            lr_image = np.array(self.lr_store[index])
            _check_picture(self._lr_files[index].path, lr_image, made, f"{name} of {self.name}")
        return {
            "lr_image": _replicated(lr_image),
            "hr_image": torch.from_numpy(hr_image),
            "name": name,
            "set_name": self.name,
            "lr_source": "made" if self.lr_store is None else "file",
            "counted": True,
        }


@dataclass(frozen=True)
class EvaluationSets:
    """The sets that are there, and the names of those that were asked for and are not."""

    sets: tuple[EvaluationSet, ...]
    absent: tuple[str, ...]


class RankShare(Dataset[dict[str, Any]]):
    """Every ``num_replicas``-th image of all sets in a row, from ``rank`` on; shares are made equally long.

    Where the images do not divide by the ranks, the last ones get the first image again with ``counted``
    False.

    Args:
        sets: validated one after the other.
        num_replicas: ranks.
        rank: whose share.
    """

    def __init__(self, *, sets: Sequence[EvaluationSet], num_replicas: int, rank: int) -> None:
        self.sets = list(sets)
        places = [(number, index) for number, images in enumerate(sets) for index in range(len(images))]
        share = [(place, True) for place in places[rank::num_replicas]]
        length = -(-len(places) // num_replicas)
        self.share = share + [(places[0], False)] * (length - len(share))

    def __len__(self) -> int:
        return len(self.share)

    def __getitem__(self, index: int) -> dict[str, Any]:
        (number, image), counted = self.share[index]
        return {**self.sets[number][image], "counted": counted}

    def batch(self, indices: Sequence[int]) -> dict[str, Any]:
        """The sample of the one index: images of unlike sizes cannot be stacked."""
        (index,) = indices
        return self[index]


def _refuse(fault: str, scale: int, on_bad_image: BadImagePolicy) -> None:
    fault = f"{fault}, less than the scale {scale}"
    if on_bad_image == "error":
        raise ValueError(f"{fault}; remove it or set data.on_bad_image=skip")
    log.warning("skipped: %s", fault)


def _check_size(path: Path, found: tuple[int, int], hr_size: tuple[int, int], scale: int) -> None:
    expected = (hr_size[0] // scale, hr_size[1] // scale)
    if found != expected:
        raise ValueError(
            f"{path} measures {found[0]}x{found[1]}, but its HR image of {hr_size[0]}x{hr_size[1]} asks for "
            f"{expected[0]}x{expected[1]} at x{scale}; remove it (LR is then made) or replace it"
        )


def _check_picture(path: Path, lr_image: NDArray[np.uint8], made: NDArray[np.uint8], image: str) -> None:
    error = float(np.mean((lr_image.astype(np.float64) - made) ** 2))
    psnr = 10 * math.log10(255**2 / error) if error else math.inf
    if psnr < _LEAST_LR_PSNR:
        raise ValueError(
            f"the LR file {path} does not belong to its HR image {image}: its PSNR against the bicubic "
            f"of that is {psnr:.1f} dB, less than {_LEAST_LR_PSNR:.0f} dB; put the right file there, or "
            f"remove the folder {path.parent} to have all LR made"
        )


def _replicated(lr_image: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(np.repeat(lr_image, 3, axis=0) if len(lr_image) == 1 else lr_image)
