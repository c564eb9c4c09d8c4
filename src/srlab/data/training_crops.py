"""Training pairs: random HR crops, and LR made on the fly as if the whole image had been downsampled."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from srlab.data.augmentation import augment, augment_on_device
from srlab.data.crop_scales import CropSize, FixedScale, RandomScale
from srlab.data.degradation import Degradation, TensorDegradation
from srlab.data.lr_files import LrPairs
from srlab.data.sampling import CropDraw, degradation_random, draw_crop, draw_pixels, image_of
from srlab.data.store import BadImagePolicy, ImageStore
from srlab.ops.picking import pick_pixels

log = logging.getLogger(__name__)

DegradeOn = Literal["worker", "device"]


@dataclass(eq=False, kw_only=True)
class TrainingCrops(Dataset[dict[str, Any]]):
    """Sample ``i``, for any i >= 0, is a pure function of (seed, i).

    It holds ``lr_image`` (3, p, p) and ``hr_image`` (3, sp, sp), uint8, for scale s and patch size p. A batch
    is made at once; there is nothing to collate. With ``degrade_on="device"``, degradation and augmentation
    are left to ``finish``: until then a batch holds ``hr_window`` (B, 3, sp + 2m, sp + 2m) with the
    degradation's context m, and ``turn`` (B,).

    With a ``RandomScale``, the samples of a batch must be of one optimizer step, and a batch holds ``size``,
    the HR height and width, too. With ``compared_pixels`` n, ``pixels`` (B, n) are numbers of HR pixels drawn
    for each sample, row by row, and ``hr_image`` (B, 3, 1, n) holds these alone.

    Crops at a fixed scale are aligned to the LR grid. Augmentation follows the degradation, for both images
    alike, so that an LR crop is a window of the whole LR image. Gray images are replicated to three channels.

    With ``pairs``, LR crops are windows of those files, at the same place.

    Args:
        scales: how large the crops of each batch are.

    For the other arguments see ``SuperResolutionData``.
    """

    store: ImageStore
    scales: FixedScale | RandomScale
    seed: int
    degradation: Degradation
    augment: bool
    on_bad_image: BadImagePolicy
    degrade_on: DegradeOn
    pairs: LrPairs | None = None
    compared_pixels: int | None = None

    def __post_init__(self) -> None:
        *_, largest = sizes = self.scales.sizes()
        self.images = _large_enough(self.store, largest, self.scales.patch_size, self.on_bad_image)
        """Numbers of the usable images in the store."""
        if self.pairs is not None:
            self.images = self.pairs.usable(self.images)
        self._context(largest)  # raises what this degradation cannot make
        pixels, wanted = sizes[0].side ** 2, self.compared_pixels
        if wanted is not None and not 1 <= wanted <= pixels:
            raise ValueError(
                f"data.compared_pixels={wanted} must be between 1 and the {pixels} pixels of the smallest HR "
                "crop; null compares all"
            )

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One sample, without a batch axis."""
        batch = self.batch([index])
        return {name: part[0] if isinstance(part, Tensor) else part for name, part in batch.items()}

    def batch(self, indices: Sequence[int]) -> dict[str, Any]:
        """The batch of these samples."""
        size = self.scales.of(indices[0])
        assert self.scales.of(indices[-1]) == size, "samples of one batch belong to one optimizer step"
        context = self._context(size)
        crops = [self.draw(index) for index in indices]
        side = size.side + 2 * context
        windows = np.empty((len(indices), 3, side, side), np.uint8)
        for (number, crop), window in zip(crops, windows, strict=True):
            image = self.store[number]
            height, width = (length // size.grid * size.grid for length in image.shape[1:])
            corner = crop.top * size.grid, crop.left * size.grid
            _cut_window(image[:, :height, :width], corner, context, window)
        turns = [crop.turn for _, crop in crops]
        batch = self._comparison(indices, size)
        if self.degrade_on == "device":
            turned = torch.tensor(turns, dtype=torch.uint8)
            return {"hr_window": torch.from_numpy(windows), "turn": turned, **batch}
        if self.pairs is not None:
            lr_images = self.pairs.windows(crops, self.scales.patch_size)
        else:
            lr_images = self.degradation(
                windows, size.scale, lambda sample: degradation_random(self.seed, indices[sample])
            )
        inner = slice(context, context + size.side)
        hr_images = windows[..., inner, inner]
        return _compared(
            {"lr_image": augment(lr_images, turns), "hr_image": augment(hr_images, turns), **batch}
        )

    def _context(self, size: CropSize) -> int:
        return 0 if self.pairs else self.degradation.context(size.scale)

    def _comparison(self, indices: Sequence[int], size: CropSize) -> dict[str, Any]:
        """What a batch holds besides images."""
        if isinstance(self.scales, FixedScale):
            return {}
        batch: dict[str, Any] = {"size": (size.side, size.side)}
        if self.compared_pixels is not None:
            pixels = [draw_pixels(self.seed, each, size.side**2, self.compared_pixels) for each in indices]
            batch["pixels"] = torch.from_numpy(np.stack(pixels))
        return batch

    def draw(self, index: int) -> tuple[int, CropDraw]:
        """The number of the image in the store, and the crop, whose corner is in cells of the grid."""
        size = self.scales.of(index)
        number = self.images[image_of(self.seed, index, len(self.images))]
        image = self.store.images[number]
        rows, columns = ((side - size.side) // size.grid + 1 for side in (image.height, image.width))
        return number, draw_crop(self.seed, index, (rows, columns), augment=self.augment)

    def digests(self) -> dict[str, str]:
        """Hashes of the images, with those of their LR files if these are read, by name."""
        return self.store.digests(self.images, self.pairs.lr_store if self.pairs else None)

    def finish(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Degrade and augment on the device where the batch is now; returns finished batches as they are."""
        if "hr_window" not in batch:
            return batch
        assert isinstance(self.degradation, TensorDegradation)
        windows, turns = batch["hr_window"], batch["turn"]
        side = batch["size"][0] if "size" in batch else self.scales.of(0).side
        scale = Fraction(side, self.scales.patch_size) if "size" in batch else self.scales.of(0).scale
        context = (windows.shape[-1] - side) // 2
        inner = slice(context, context + side)
        return _compared(
            {
                "lr_image": augment_on_device(self.degradation.on_device(windows, scale), turns),
                "hr_image": augment_on_device(windows[..., inner, inner], turns),
                **{name: part for name, part in batch.items() if name not in ("hr_window", "turn")},
            }
        )


def _compared(batch: dict[str, Any]) -> dict[str, Any]:
    """With those HR pixels alone that are compared."""
    if "pixels" not in batch:
        return batch
    return {**batch, "hr_image": pick_pixels(batch["hr_image"], batch["pixels"])}


def _cut_window(
    image: NDArray[np.uint8], corner: tuple[int, int], context: int, window: NDArray[np.uint8]
) -> None:
    """Copy a square crop and ``context`` more pixels all around; beyond the border, the mirrored image.

    The edge is repeated, as in MATLAB. (C, H, W) to (3, S, S), which includes the context.
    """
    spans, missing = [], []
    for start, length in zip((side - context for side in corner), image.shape[1:], strict=True):
        stop = start + window.shape[1]
        spans.append(slice(max(start, 0), min(stop, length)))
        missing += [max(-start, 0), max(stop - length, 0)]
    piece = np.broadcast_to(image[:, spans[0], spans[1]], (3, *(span.stop - span.start for span in spans)))
    if not any(missing):
        np.copyto(window, piece)
        return
    # The piece extends at least ``context`` pixels into the image, or over all of it: mirroring the piece
    # mirrors the image.
    above, below, before, after = missing
    for source, target in zip(piece, window, strict=True):
        cv2.copyMakeBorder(source, above, below, before, after, cv2.BORDER_REFLECT, dst=target)


def _large_enough(
    store: ImageStore, crop: CropSize, patch_size: int, on_bad_image: BadImagePolicy
) -> list[int]:
    side, scale = crop.side, float(crop.scale)
    small = [image for image in store.images if min(image.height, image.width) < side]
    for image in small:
        fault = f"{image.name} measures {image.height}x{image.width}, less than a crop of {side}x{side}"
        if on_bad_image == "error":
            fitting = int(min(min(each.height, each.width) for each in small) / scale)
            smaller = f", or data.patch_size={fitting}, which fits into all" if fitting else ""
            raise ValueError(
                f"{len(small)} of {len(store)} images are too small: {fault} (data.patch_size={patch_size} "
                f"times scale={scale:g}); set data.on_bad_image=skip{smaller}"
            )
        log.warning("skipped: %s", fault)
    large = [number for number, image in enumerate(store.images) if min(image.height, image.width) >= side]
    if not large:
        raise ValueError(f"no image is as large as a crop of {side}x{side}; set a smaller data.patch_size")
    return large
