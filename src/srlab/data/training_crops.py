"""Training pairs: random HR crops from a store, LR made on the way as if the whole image had been shrunk."""

import logging
from collections.abc import Mapping, Sequence
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from srlab.data.degradation import Degradation, TensorDegradation
from srlab.data.device_degradation import turn_on_device
from srlab.data.sampling import CropDraw, degradation_random, draw_crop, image_of
from srlab.data.store import BadImagePolicy, ImageStore

__all__ = ["DegradeOn", "TrainingCrops", "cut_window", "unset_batch"]

log = logging.getLogger(__name__)

DegradeOn = Literal["worker", "device"]

# OpenCV's code of a flip, by (rows, columns).
_FLIP_CODES = {(False, False): None, (True, False): 0, (False, True): 1, (True, True): -1}


class TrainingCrops(Dataset[dict[str, Tensor]]):
    """Sample ``i``, for any i >= 0, is a pure function of (seed, i).

    It holds ``lr_image`` (3, p, p) and ``hr_image`` (3, sp, sp), uint8. A batch is made at once, in the
    stages ``draw``, ``read``, ``degrade`` and ``turn``, and written where it stays: nothing is left to
    collate. With ``degrade_on="device"`` the last two are left to ``finish``: until then a batch holds
    ``hr_window`` (B, 3, sp + 2m, sp + 2m) with the degradation's context m, and ``turn`` (B,).

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
        degrade_on: ``"worker"``, or ``"device"`` to shrink and turn where ``finish`` is called.
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
        degrade_on: DegradeOn,
    ) -> None:
        self.store = store
        self.scale = scale
        self.patch_size = patch_size
        self.seed = seed
        self.degradation = degradation
        self.augment = augment
        self.degrade_on: DegradeOn = degrade_on
        self.images = _large_enough(store, scale * patch_size, on_bad_image)
        self._context = degradation.context(scale)
        self._inner = slice(self._context, self._context + scale * patch_size)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One sample, without a batch axis."""
        return {name: part[0] for name, part in self.batch([index]).items()}

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """The batch of these samples."""
        draws = self.draw(indices)
        count, side = len(indices), self.scale * self.patch_size
        window_side = side + 2 * self._context
        if self.degrade_on == "device":
            batch = unset_batch({"hr_window": (count, 3, window_side, window_side), "turn": (count,)})
            self.read(draws, batch["hr_window"].numpy())
            batch["turn"].numpy()[:] = [crop.turn for _, crop in draws]
            return batch
        batch = unset_batch(
            {"lr_image": (count, 3, self.patch_size, self.patch_size), "hr_image": (count, 3, side, side)}
        )
        windows = np.empty((count, 3, window_side, window_side), np.uint8)
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
        scale = self.scale
        for (number, crop), window in zip(draws, windows, strict=True):
            image = self.store[number]
            height, width = (side // scale * scale for side in image.shape[1:])
            cut_window(image[:, :height, :width], crop.top * scale, crop.left * scale, self._context, window)

    def degrade(self, windows: NDArray[np.uint8], indices: Sequence[int]) -> NDArray[np.uint8]:
        """Stage 3: the LR crops (B, 3, p, p), not yet turned."""
        return self.degradation(
            windows, self.scale, lambda sample: degradation_random(self.seed, indices[sample])
        )

    def turn(
        self, draws: Sequence[tuple[int, CropDraw]], images: NDArray[np.uint8], turned: NDArray[np.uint8]
    ) -> None:
        """Stage 4: turn and flip ``images`` (B, 3, S, S) into ``turned``."""
        for (_, crop), image, target in zip(draws, images, turned, strict=True):
            _turn(image, crop, target)

    def finish(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is left to do on the device where the batch lies now; nothing for finished batches."""
        if "hr_window" not in batch:
            return batch
        assert isinstance(self.degradation, TensorDegradation)
        windows, turns = batch["hr_window"], batch["turn"]
        return {
            "lr_image": turn_on_device(self.degradation.on_device(windows, self.scale), turns),
            "hr_image": turn_on_device(windows[..., self._inner, self._inner], turns),
        }


def unset_batch(shapes: Mapping[str, tuple[int, ...]], _indices: Sequence[int] = ()) -> dict[str, Tensor]:
    """A batch of uint8 tensors whose values are not set; it costs nothing to make."""
    return {name: torch.empty(shape, dtype=torch.uint8) for name, shape in shapes.items()}


def cut_window(
    image: NDArray[np.uint8], top: int, left: int, context: int, window: NDArray[np.uint8]
) -> None:
    """Copy a square crop with ``context`` more pixels all around; beyond the image, it mirrored.

    The edge is repeated, as MATLAB does.

    Args:
        image: (C, H, W); one channel is copied to all of the window's.
        top: row of the crop, without the context.
        left: its column.
        context: pixels on each side.
        window: (3, S, S), written to; S includes the context.
    """
    spans, missing = [], []
    for start, length in zip((top - context, left - context), image.shape[1:], strict=True):
        stop = start + window.shape[1]
        spans.append(slice(max(start, 0), min(stop, length)))
        missing += [max(-start, 0), max(stop - length, 0)]
    piece = image[:, spans[0], spans[1]]
    above, below, before, after = missing
    if not any(missing):
        np.copyto(window, piece)
        return
    # The piece reaches at least ``context`` pixels into the image, or all through it: mirroring it mirrors
    # the image.
    for source, target in zip(np.broadcast_to(piece, (3, *piece.shape[1:])), window, strict=True):
        cv2.copyMakeBorder(source, above, below, before, after, cv2.BORDER_REFLECT, dst=target)


def _turn(image: NDArray[np.uint8], crop: CropDraw, turned: NDArray[np.uint8]) -> None:
    """OpenCV turns a 256x256 plane in a fifth of the time of NumPy's strided copies."""
    flip = _FLIP_CODES[crop.flip_rows, crop.flip_columns]
    for source, target in zip(image, turned, strict=True):
        if crop.transpose:
            cv2.transpose(source, dst=target)
            source = target
        if flip is not None:
            cv2.flip(source, flip, dst=target)
        elif not crop.transpose:
            np.copyto(target, source)


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
