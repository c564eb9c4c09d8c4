"""Whole images with references, for validation and scoring."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from srlab.data.bicubic_window import shrink
from srlab.data.lr_pairing import check_lr
from srlab.data.pixels import MAX_PIXELS
from srlab.data.sources import ImageFile, ImageSet
from srlab.data.store import BadImagePolicy, ImageStore, StoredImage, open_store

__all__ = ["EvaluationSet", "EvaluationSets", "RankShare"]

log = logging.getLogger(__name__)

_MOST_NAMED = 5


class EvaluationSet:
    """The images of one set with LR from its files or else made by MATLAB's bicubic in 8 bits.

    HR is cropped at the bottom and right to a multiple of the scale. A gray HR stays (1, H, W); its LR is
    replicated to three channels. Samples are dicts: ``lr_image``, ``hr_image`` (uint8), ``name``,
    ``set_name``, ``lr_source`` (``"file"`` or ``"made"``) and ``counted``, always True here. LR files are
    decoded into a store beside that of HR: what happens to the files later does not matter.

    Everything is checked here, once: a set that is built can be scored.

    Args:
        image_set: names, and where LR files would be.
        store: its decoded HR images.
        scale: of LR against HR.
        on_bad_image: ``"skip"`` leaves out, with a warning, what raises an error otherwise.
        least_side: HR pixels that a side must have, cropped to the scale: what scoring needs.
        max_pixels: of an LR file.

    Raises:
        ValueError: naming the images that are too small, or whose LR file is missing, unreadable, of another
            size or of another picture; if no image is left.
    """

    def __init__(
        self,
        *,
        image_set: ImageSet,
        store: ImageStore,
        scale: int,
        on_bad_image: BadImagePolicy,
        least_side: int = 1,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.name = image_set.name
        self.store = store
        self.scale = scale
        self.hr_paths = {file.name: file.path.absolute() for file in image_set.files}
        """Source of each image, by name."""
        faults: list[str] = []
        usable, lr_files = self._large_enough(image_set, least_side, faults)
        self.images: list[int] = usable
        self.lr_store: ImageStore | None = None
        """The LR files; None where LR is made."""
        self.lr_images: list[int] = []
        """Numbers in ``lr_store``, in the order of ``images``."""
        if lr_files:
            lr_set = ImageSet(f"{self.name}_LRx{scale}", tuple(lr_files))
            folder = store.folder.parent
            lr_store = open_store(lr_set, cache=folder, on_bad_image=on_bad_image, max_pixels=max_pixels)
            self._pair(lr_store, lr_set, faults)
            log.info("LR of %s at x%d is read from %s", self.name, scale, lr_files[0].path.parent)
        _refuse(faults, self.name, on_bad_image)
        if not self.images:
            raise ValueError(f"no image of {self.name} is left to score; {image_set.if_none_usable}")

    def _large_enough(
        self, image_set: ImageSet, least_side: int, faults: list[str]
    ) -> tuple[list[int], list[ImageFile]]:
        """Numbers of the images that are, with the LR files where there are any."""
        usable: list[int] = []
        lr_files: list[ImageFile] = []
        for number, image in enumerate(self.store.images):
            try:
                _check_side(image, self.scale, least_side)
                path = image_set.lr_path(image.name, self.scale)
            except ValueError as fault:
                faults.append(str(fault))
                continue
            usable.append(number)
            if path is not None:
                lr_files.append(ImageFile(image.name, path))
        return usable, lr_files

    def _pair(self, lr_store: ImageStore, lr_set: ImageSet, faults: list[str]) -> None:
        """Keep the images whose LR file is theirs."""
        numbers = {image.name: number for number, image in enumerate(lr_store.images)}
        paths = {file.name: file.path for file in lr_set.files}
        self.lr_store = lr_store
        candidates, self.images = self.images, []
        for number in candidates:
            name = self.store.images[number].name
            if name not in numbers:
                continue  # unreadable, which the store warned of
            try:
                hr_image = self.store[number]
                check_lr(paths[name], lr_store[numbers[name]], hr_image, self.scale, f"{name} of {self.name}")
            except ValueError as fault:
                faults.append(str(fault))
                continue
            self.images.append(number)
            self.lr_images.append(numbers[name])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = self.images[index]
        image = self.store[number]
        height, width = (side // self.scale * self.scale for side in image.shape[1:])
        hr_image = np.array(image[:, :height, :width])
        if self.lr_store is None:
            lr_image = shrink(hr_image, self.scale)
        else:
            lr_image = np.array(self.lr_store[self.lr_images[index]])
        return {
            "lr_image": _replicated(lr_image),
            "hr_image": torch.from_numpy(hr_image),
            "name": self.store.images[number].name,
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


def _check_side(image: StoredImage, scale: int, least_side: int) -> None:
    size = f"{image.name} measures {image.height}x{image.width}"
    side = min(image.height, image.width)
    if side < scale:
        raise ValueError(f"{size}, less than the scale {scale}")
    if side // scale * scale < least_side:
        raise ValueError(
            f"{size}, too small to score: {least_side}x{least_side} pixels are needed after cropping to a "
            f"multiple of {scale} (border and SSIM window of the protocol)"
        )


def _refuse(faults: Sequence[str], name: str, on_bad_image: BadImagePolicy) -> None:
    """All at once, so that one start shows what must be repaired."""
    if faults and on_bad_image == "error":
        told = "; ".join(faults[:_MOST_NAMED]) + ("; …" if len(faults) > _MOST_NAMED else "")
        raise ValueError(
            f"{len(faults)} image(s) of {name} cannot be scored: {told}; repair or rename these files, or "
            "remove them (without its folder, all LR is made), or set data.on_bad_image=skip"
        )
    for fault in faults:
        log.warning("skipped, of %s: %s", name, fault)


def _replicated(lr_image: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(np.repeat(lr_image, 3, axis=0) if len(lr_image) == 1 else lr_image)
