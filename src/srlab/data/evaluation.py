"""Whole images for validation and scoring, with references or without."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srlab.data.bicubic_window import downsample
from srlab.data.lr_files import check_bicubic, check_lr_size
from srlab.data.pixels import MAX_PIXELS
from srlab.data.sources import ImageFile, ImageSet
from srlab.data.store import BadImagePolicy, ImageStore, open_store
from srlab.ops.axis import corresponding_sides
from srlab.terminal.names import some

log = logging.getLogger(__name__)


@dataclass(eq=False, kw_only=True)
class EvaluationSet:
    """The images of one set, with LR from files or else made by MATLAB's bicubic in 8 bits.

    HR is cropped at the bottom and right to what whole LR pixels cover: a multiple of the scale, rounded if
    that is not whole. A gray HR stays (1, H, W); its LR is replicated to three channels. Samples are dicts:
    ``lr_image``, ``hr_image`` (uint8), ``name``, ``set_name``, ``scale``, ``lr_source`` (``"file"`` or
    ``"made"``) and ``counted``, always True here. LR files are decoded into a store of their own, so later
    changes to the files do not matter. Samples of a set of LR images lack ``hr_image``, and their
    ``lr_source`` is ``"without HR"``.

    Everything is checked once, here: a set that was built can be scored.

    Args:
        image_set: names, and folders of LR files.
        store: its decoded images.
        scale: HR side / LR side, 1 or more.
        on_bad_image: ``"error"`` raises a ValueError for images that are too small, or whose LR file is
            missing, unreadable, of another size or of another picture; ``"skip"`` warns of them.
        least_side: pixels that scoring needs on each side, of HR after cropping, of restored LR images.
        max_pixels: of an LR file.
    """

    image_set: ImageSet
    store: ImageStore
    scale: float
    on_bad_image: BadImagePolicy
    least_side: int = 1
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        self.name = self.image_set.name
        self.has_references = not self.image_set.is_low_resolution
        self.hr_paths = {file.name: file.path.absolute() for file in self.image_set.files}
        """Source of each image, by name."""
        self.lr_store = self._open_lr_files()
        """The LR files; None where LR is made."""
        self.images: list[int] = []
        """Numbers in ``store``."""
        faults: list[str] = []
        for number in range(len(self.store)):
            self._add(number, faults)
        # all at once: one start shows everything to be repaired
        if faults and self.on_bad_image == "error":
            raise ValueError(
                f"{len(faults)} image(s) of {self.name} cannot be scored: {some(faults, '; ')}; repair, "
                "rename or remove these files (without its folder, all LR is made), or "
                "set data.on_bad_image=skip"
            )
        for fault in faults:
            log.warning("skipped, of %s: %s", self.name, fault)
        if not self.images:
            raise ValueError(f"no image of {self.name} is left to score; {self.image_set.if_none_usable}")

    def _open_lr_files(self) -> ImageStore | None:
        files: list[ImageFile] = []
        for image in self.store.images:
            with suppress(ValueError):  # a missing file is a fault of its image
                if path := self.image_set.lr_path(image.name, self.scale):
                    files.append(ImageFile(image.name, path))
        if not files:
            return None
        log.info("LR of %s at x%g is read from %s", self.name, self.scale, files[0].path.parent)
        lr_set = ImageSet(f"{self.name}_LRx{self.scale:g}", tuple(files))
        cache, policy = self.store.folder.parent, self.on_bad_image
        return open_store(lr_set, cache=cache, on_bad_image=policy, max_pixels=self.max_pixels)

    def _add(self, number: int, faults: list[str]) -> None:
        try:
            if self._is_usable(number):
                self.images.append(number)
        except ValueError as fault:
            faults.append(str(fault))

    def _is_usable(self, number: int) -> bool:
        """False if the LR file is unreadable, of which its store has warned; other faults are raised."""
        image = self.store.images[number]
        size = f"{image.name} measures {image.height}x{image.width}"
        needed = f"{self.least_side}x{self.least_side} pixels"
        least = min(image.height, image.width)
        if not self.has_references:
            if least * self.scale < self.least_side:
                raise ValueError(
                    f"{size}, too small to score: restored at x{self.scale:g} it must have {needed}"
                )
            return True
        lr_side, side = corresponding_sides(least, self.scale)
        if lr_side == 0:
            raise ValueError(f"{size}, less than the scale {self.scale}")
        if side < self.least_side:
            raise ValueError(
                f"{size}, too small to score: {needed} are needed after cropping to a multiple of "
                f"{self.scale} (border and SSIM window of the protocol)"
            )
        path = self.image_set.lr_path(image.name, self.scale)
        return path is None or self._fits(path, number)

    def _fits(self, path: Path, number: int) -> bool:
        image = self.store.images[number]
        if self.lr_store is None or image.name not in self.lr_store.numbers:
            return False
        scale = int(self.scale)  # there are no LR files of other scales
        lr_number = self.lr_store.numbers[image.name]
        what = f"{image.name} of {self.name}"
        check_lr_size(path, self.lr_store.images[lr_number], image, scale, what)
        if self.image_set.lr_files is None:  # those are not bicubic, perhaps: their size alone is known
            check_bicubic(path, self.lr_store[lr_number], self.store[number], scale, what)
        return True

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = self.images[index]
        name, image = self.store.images[number].name, self.store[number]
        sample = {"name": name, "set_name": self.name, "scale": self.scale, "counted": True}
        if not self.has_references:
            return {**sample, "lr_image": _rgb(image), "lr_source": "without HR"}
        height, width = (corresponding_sides(side, self.scale)[1] for side in image.shape[1:])
        hr_image = np.array(image[:, :height, :width])
        if self.lr_store is None:
            lr_image, source = downsample(hr_image, self.scale), "made"
        else:
            lr_image, source = self.lr_store[self.lr_store.numbers[name]], "file"
        images = {"lr_image": _rgb(lr_image), "hr_image": torch.from_numpy(hr_image)}
        return {**sample, **images, "lr_source": source}

    def digests(self) -> dict[str, str]:
        """Hashes of the HR images, and of the LR files if there are any, by name."""
        return self.store.digests(self.images, self.lr_store)


@dataclass(frozen=True)
class EvaluationSets:
    """The sets that exist, and the names of requested ones that do not."""

    sets: tuple[EvaluationSet, ...]
    absent: tuple[str, ...]


class RankShare:
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

    def batch(self, indices: Sequence[int]) -> dict[str, Any]:
        """The sample of the one index: images of different sizes cannot be stacked."""
        (place,) = indices
        (number, index), counted = self.share[place]
        return {**self.sets[number][index], "counted": counted}


def _rgb(image: NDArray[np.uint8]) -> Tensor:
    """A copy with three channels."""
    return torch.from_numpy(np.array(np.broadcast_to(image, (3, *image.shape[1:]))))
