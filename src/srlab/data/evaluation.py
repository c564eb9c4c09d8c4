"""Whole images with references, for validation and scoring."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from srlab.data.bicubic_window import downsample
from srlab.data.lr_pairing import check_lr
from srlab.data.pixels import MAX_PIXELS
from srlab.data.sources import ImageFile, ImageSet
from srlab.data.store import BadImagePolicy, ImageStore, StoredImage, open_store

log = logging.getLogger(__name__)

_MOST_NAMED = 5


class EvaluationSet:
    """The images of one set, with LR from files or else made by MATLAB's bicubic in 8 bits.

    HR is cropped at the bottom and right to a multiple of the scale. A gray HR stays (1, H, W); its LR is
    replicated to three channels. Samples are dicts: ``lr_image``, ``hr_image`` (uint8), ``name``,
    ``set_name``, ``lr_source`` (``"file"`` or ``"made"``) and ``counted``, always True here. LR files are
    decoded into a store of their own, so later changes to the files do not matter.

    Everything is checked once, here: a set that was built can be scored.

    Args:
        image_set: names, and folders of LR files.
        store: its decoded HR images.
        scale: of LR against HR.
        on_bad_image: ``"error"`` raises a ValueError for images that are too small, or whose LR file is
            missing, unreadable, of another size or of another picture; ``"skip"`` warns of them.
        least_side: HR pixels that a side must have after cropping: what scoring needs.
        max_pixels: of an LR file.
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
        self.images: list[int] = []
        """Numbers in ``store``."""
        self.lr_store: ImageStore | None = None
        """The LR files; None where LR is made."""
        self.lr_images: list[int] = []
        """Numbers in ``lr_store``, in the order of ``images``."""
        faults: list[str] = []
        lr_paths = self._usable(image_set, least_side, faults)
        lr_files = {name: path for name, path in lr_paths.items() if path is not None}
        if lr_files:
            lr_set = ImageSet(
                f"{self.name}_LRx{scale}", tuple(ImageFile(name, path) for name, path in lr_files.items())
            )
            self.lr_store = open_store(
                lr_set, cache=store.folder.parent, on_bad_image=on_bad_image, max_pixels=max_pixels
            )
            self._pair(lr_files, self.lr_store, faults)
            folder = next(iter(lr_files.values())).parent
            log.info("LR of %s at x%d is read from %s", self.name, scale, folder)
        _report(faults, self.name, on_bad_image)
        if not self.images:
            raise ValueError(f"no image of {self.name} is left to score; {image_set.if_none_usable}")

    def _usable(self, image_set: ImageSet, least_side: int, faults: list[str]) -> dict[str, Path | None]:
        """Fill ``images`` with those that are large enough; returns their LR files by name."""
        lr_paths: dict[str, Path | None] = {}
        for number, image in enumerate(self.store.images):
            try:
                _check_side(image, self.scale, least_side)
                lr_paths[image.name] = image_set.lr_path(image.name, self.scale)
            except ValueError as fault:
                faults.append(str(fault))
                continue
            self.images.append(number)
        return lr_paths

    def _pair(self, lr_files: dict[str, Path], lr_store: ImageStore, faults: list[str]) -> None:
        """Keep only images whose LR file belongs to them; the store has warned of unreadable ones."""
        lr_numbers = {image.name: number for number, image in enumerate(lr_store.images)}
        named = {self.store.images[number].name: number for number in self.images}
        self.images = []
        for name in filter(lr_numbers.__contains__, named):
            hr_image, lr_image = self.store[named[name]], lr_store[lr_numbers[name]]
            try:
                check_lr(lr_files[name], lr_image, hr_image, self.scale, f"{name} of {self.name}")
            except ValueError as fault:
                faults.append(str(fault))
                continue
            self.images.append(named[name])
            self.lr_images.append(lr_numbers[name])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = self.images[index]
        image = self.store[number]
        height, width = (side // self.scale * self.scale for side in image.shape[1:])
        hr_image = np.array(image[:, :height, :width])
        if self.lr_store is None:
            lr_image = downsample(hr_image, self.scale)
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

    def digests(self) -> dict[str, str]:
        """Hashes of the HR images, and of the LR files if there are any, by name."""
        hr_digests = self.store.digests(self.images)
        if self.lr_store is None:
            return hr_digests
        lr_digests = self.lr_store.digests(self.lr_images)
        return {name: f"{digest} {lr_digests[name]}" for name, digest in hr_digests.items()}


@dataclass(frozen=True)
class EvaluationSets:
    """The sets that exist, and the names of requested ones that do not."""

    sets: tuple[EvaluationSet, ...]
    absent: tuple[str, ...]


class RankShare(Dataset[dict[str, Any]]):
    """Every ``num_replicas``-th image of all sets in a row, from ``rank`` on; shares have the same length.

    If the number of images is not a multiple of the ranks, the last ranks get the first image again with
    ``counted`` False.
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
        """The sample of the one index: images of different sizes cannot be stacked."""
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


def _report(faults: Sequence[str], name: str, on_bad_image: BadImagePolicy) -> None:
    """Raise all at once, so that one start shows everything that must be repaired; or warn of each."""
    if faults and on_bad_image == "error":
        named = "; ".join(faults[:_MOST_NAMED]) + ("; …" if len(faults) > _MOST_NAMED else "")
        raise ValueError(
            f"{len(faults)} image(s) of {name} cannot be scored: {named}; repair, rename or remove these "
            "files (without its folder, all LR is made), or set data.on_bad_image=skip"
        )
    for fault in faults:
        log.warning("skipped, of %s: %s", name, fault)


def _replicated(lr_image: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(np.repeat(lr_image, 3, axis=0) if len(lr_image) == 1 else lr_image)
