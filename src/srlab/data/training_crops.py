"""Training pairs: random HR crops, and LR made on the fly as if the whole image had been downsampled."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from srlab.data.augmentation import augment_crop, augment_on_device
from srlab.data.degradation import Degradation, TensorDegradation
from srlab.data.sampling import CropDraw, degradation_random, draw_crop, image_of
from srlab.data.store import BadImagePolicy, ImageStore

__all__ = ["DegradeOn", "TrainingCrops", "unset_batch"]

log = logging.getLogger(__name__)

DegradeOn = Literal["worker", "device"]


@dataclass(eq=False, kw_only=True)
class TrainingCrops(Dataset[dict[str, Tensor]]):
    """Sample ``i``, for any i >= 0, is a pure function of (seed, i).

    It holds ``lr_image`` (3, p, p) and ``hr_image`` (3, sp, sp), uint8, for scale s and patch size p. A batch
    is made at once, in the stages ``draw``, ``read``, ``degrade`` and ``turn``: there is nothing to collate.
    With ``degrade_on="device"`` the last two are left to ``finish``: until then a batch holds ``hr_window``
    (B, 3, sp + 2m, sp + 2m) with the degradation's context m, and ``turn`` (B,).

    Crops are aligned to the LR grid. Augmentation follows the degradation, for both images alike, so that an
    LR crop is a window of the whole LR image. Gray images are replicated to three channels.

    For the arguments see ``SuperResolutionData``.
    """

    store: ImageStore
    scale: int
    patch_size: int
    seed: int
    degradation: Degradation
    augment: bool
    on_bad_image: BadImagePolicy
    degrade_on: DegradeOn

    def __post_init__(self) -> None:
        self.side = self.scale * self.patch_size
        self.images = _large_enough(self.store, self.side, self.on_bad_image)
        """Numbers of the usable images in the store."""
        self._context = self.degradation.context(self.scale)
        self._inner = slice(self._context, self._context + self.side)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One sample, without a batch axis."""
        return {name: part[0] for name, part in self.batch([index]).items()}

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """The batch of these samples."""
        draws = self.draw(indices)
        hr_shape = (len(indices), 3, self.side, self.side)
        lr_shape = (len(indices), 3, self.patch_size, self.patch_size)
        window_shape = (*hr_shape[:2], *(side + 2 * self._context for side in hr_shape[2:]))
        if self.degrade_on == "device":
            batch = unset_batch({"hr_window": window_shape, "turn": (len(indices),)})
            self.read(draws, batch["hr_window"].numpy())
            batch["turn"].numpy()[:] = [crop.turn for _, crop in draws]
            return batch
        batch = unset_batch({"lr_image": lr_shape, "hr_image": hr_shape})
        windows = np.empty(window_shape, np.uint8)
        self.read(draws, windows)
        self.turn(draws, self.degrade(windows, indices), batch["lr_image"].numpy())
        self.turn(draws, windows[..., self._inner, self._inner], batch["hr_image"].numpy())
        return batch

    def draw(self, indices: Sequence[int]) -> list[tuple[int, CropDraw]]:
        """Stage 1: the image in the store, the place and the turn of each sample."""
        draws: list[tuple[int, CropDraw]] = []
        for index in indices:
            number = self.images[image_of(self.seed, index, len(self.images))]
            image = self.store.images[number]
            rows, columns = (side // self.scale - self.patch_size + 1 for side in (image.height, image.width))
            draws.append((number, draw_crop(self.seed, index, (rows, columns), augment=self.augment)))
        return draws

    def read(self, draws: Sequence[tuple[int, CropDraw]], windows: NDArray[np.uint8]) -> None:
        """Stage 2: copy each HR crop and its context from the store into ``windows`` (B, 3, S, S)."""
        for (number, crop), window in zip(draws, windows, strict=True):
            image = self.store[number]
            height, width = (side // self.scale * self.scale for side in image.shape[1:])
            corner = crop.top * self.scale, crop.left * self.scale
            _cut_window(image[:, :height, :width], corner, self._context, window)

    def degrade(self, windows: NDArray[np.uint8], indices: Sequence[int]) -> NDArray[np.uint8]:
        """Stage 3: the LR crops (B, 3, p, p), not yet augmented."""
        return self.degradation(
            windows, self.scale, lambda sample: degradation_random(self.seed, indices[sample])
        )

    def turn(
        self, draws: Sequence[tuple[int, CropDraw]], images: NDArray[np.uint8], results: NDArray[np.uint8]
    ) -> None:
        """Stage 4: augment ``images`` (B, 3, S, S) into ``results``."""
        for (_, crop), image, result in zip(draws, images, results, strict=True):
            augment_crop(image, crop.turn, result)

    def finish(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Degrade and augment on the device where the batch is now; returns finished batches as they are."""
        if "hr_window" not in batch:
            return batch
        assert isinstance(self.degradation, TensorDegradation)
        windows, turns = batch["hr_window"], batch["turn"]
        return {
            "lr_image": augment_on_device(self.degradation.on_device(windows, self.scale), turns),
            "hr_image": augment_on_device(windows[..., self._inner, self._inner], turns),
        }


def unset_batch(shapes: Mapping[str, tuple[int, ...]], _indices: Sequence[int] = ()) -> dict[str, Tensor]:
    """A batch of uint8 tensors with undefined values."""
    return {name: torch.empty(shape, dtype=torch.uint8) for name, shape in shapes.items()}


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
    piece = image[:, spans[0], spans[1]]
    above, below, before, after = missing
    if not any(missing):
        np.copyto(window, piece)
        return
    # The piece extends at least ``context`` pixels into the image, or over all of it: mirroring the piece
    # mirrors the image.
    for source, target in zip(np.broadcast_to(piece, (3, *piece.shape[1:])), window, strict=True):
        cv2.copyMakeBorder(source, above, below, before, after, cv2.BORDER_REFLECT, dst=target)


def _large_enough(store: ImageStore, side: int, on_bad_image: BadImagePolicy) -> list[int]:
    small = [image for image in store.images if min(image.height, image.width) < side]
    for image in small:
        fault = f"{image.name} measures {image.height}x{image.width}, less than a crop of {side}x{side}"
        if on_bad_image == "error":
            raise ValueError(
                f"{len(small)} of {len(store)} images are too small: {fault}; set data.on_bad_image=skip or "
                "a smaller data.patch_size"
            )
        log.warning("skipped: %s", fault)
    large = [number for number, image in enumerate(store.images) if min(image.height, image.width) >= side]
    if not large:
        raise ValueError(f"no image is as large as a crop of {side}x{side}; set a smaller data.patch_size")
    return large
