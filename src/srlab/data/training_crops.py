"""Training pairs: random HR crops from a store, LR made on the way as if the whole image had been shrunk."""

import logging

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from srlab.data.degradation import Degradation
from srlab.data.sampling import CropDraw, degradation_random, draw_crop, image_of
from srlab.data.store import BadImagePolicy, ImageStore

__all__ = ["TrainingCrops", "cut_window"]

log = logging.getLogger(__name__)

# OpenCV's code of a flip, by (rows, columns).
_FLIP_CODES = {(False, False): None, (True, False): 0, (False, True): 1, (True, True): -1}


class TrainingCrops(Dataset[dict[str, Tensor]]):
    """Sample ``i``, for any i >= 0, is a pure function of (seed, i).

    It holds ``lr_image`` (3, p, p) and ``hr_image`` (3, sp, sp), uint8.

    Crops lie on the LR grid. Turns and flips come after the degradation, to both images alike, so that an
    untouched LR crop is the window of the whole LR image. Gray images are replicated to three channels.

    Args:
        store: decoded images; pieces are read from it, never whole images.
        scale: s.
        patch_size: p, LR pixels.
        seed: of everything random.
        degradation: makes LR from HR.
        augment: turn by multiples of 90° and flip, 8 cases alike.
        on_bad_image: what happens to images smaller than a crop.
    """

    def __init__(
        self,
        *,
        store: ImageStore,
        scale: int,
        patch_size: int,
        seed: int,
        degradation: Degradation,
        augment: bool,
        on_bad_image: BadImagePolicy,
    ) -> None:
        self.store = store
        self.scale = scale
        self.patch_size = patch_size
        self.seed = seed
        self.degradation = degradation
        self.augment = augment
        self.images = _large_enough(store, scale * patch_size, on_bad_image)
        self._context = degradation.context(scale)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        stored = self.store[self.images[image_of(self.seed, index, len(self.images))]]
        image = np.broadcast_to(stored, (3, *stored.shape[1:]))
        scale, side = self.scale, self.patch_size
        height, width = image.shape[1] // scale, image.shape[2] // scale
        crop = draw_crop(self.seed, index, (height - side + 1, width - side + 1), augment=self.augment)

        image = image[:, : height * scale, : width * scale]
        top, left, hr_side = crop.top * scale, crop.left * scale, side * scale
        window = cut_window(image, top, left, hr_side, self._context)
        lr_image = self.degradation(window, scale, degradation_random(self.seed, index))
        hr_image = image[:, top : top + hr_side, left : left + hr_side]
        return {"lr_image": _turned(lr_image, crop), "hr_image": _turned(hr_image, crop)}


def cut_window(image: NDArray[np.uint8], top: int, left: int, side: int, context: int) -> NDArray[np.uint8]:
    """A square crop with ``context`` more pixels all around; beyond the image, it mirrored, edge repeated."""
    spans = [
        (max(start - context, 0), min(start + side + context, length))
        for start, length in zip((top, left), image.shape[1:], strict=True)
    ]
    piece = image[:, spans[0][0] : spans[0][1], spans[1][0] : spans[1][1]]
    missing = [
        (begin - (start - context), start + side + context - end)
        for start, (begin, end) in zip((top, left), spans, strict=True)
    ]
    # The piece reaches at least ``context`` pixels into the image, or all through it: mirroring it mirrors
    # the image.
    return np.pad(piece, ((0, 0), *missing), mode="symmetric") if np.any(missing) else piece


def _turned(image: NDArray[np.uint8], crop: CropDraw) -> Tensor:
    """A turned copy. OpenCV turns a 256x256 plane in a fifth of the time of NumPy's strided copies."""
    rows, columns = image.shape[1:]
    turned = np.empty((3, columns, rows) if crop.transpose else (3, rows, columns), np.uint8)
    flip = _FLIP_CODES[crop.flip_rows, crop.flip_columns]
    for source, target in zip(image, turned, strict=True):
        plane = cv2.transpose(source) if crop.transpose else source
        if flip is None:
            np.copyto(target, plane)
        else:
            cv2.flip(plane, flip, dst=target)
    return torch.from_numpy(turned)


def _large_enough(store: ImageStore, hr_side: int, on_bad_image: BadImagePolicy) -> list[int]:
    small = [image for image in store.images if min(image.height, image.width) < hr_side]
    for image in small:
        fault = f"{image.name} measures {image.height}x{image.width}, less than a crop of {hr_side}x{hr_side}"
        if on_bad_image == "error":
            raise ValueError(
                f"{len(small)} of {len(store)} images are too small: {fault}; set "
                "data.on_bad_image=skip or a smaller "
                "data.patch_size"
            )
        log.warning("skipped: %s", fault)
    large = [number for number, image in enumerate(store.images) if min(image.height, image.width) >= hr_side]
    if not large:
        raise ValueError(
            f"no image is as large as a crop of {hr_side}x{hr_side}; set a smaller data.patch_size"
        )
    return large
