"""Runs an RGB network on pictures of any kind: gray, RGB, with or without transparency."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from srlab.extensions.upscale.enlarging import FloatImage, enlarge
from srlab.extensions.upscale.picture import Picture
from srlab.models.network import Network
from srlab.tasks.restoration import Progress, Restoration


def enlarge_picture(
    picture: Picture,
    network: Network,
    size: tuple[int, int],
    options: Restoration,
    *,
    on_progress: Callable[[float], None] | None = None,
) -> Picture:
    """The picture at ``size``, (height, width); values are neither clamped nor rounded.

    Gray is given to the network as RGB, and the mean of its three channels is the result. Transparency is
    enlarged in the same way. The colours of fully transparent pixels, which are often black, are first
    replaced by those of the nearest visible pixel; otherwise visible parts would get a dark fringe.

    Args:
        picture: in [0, 1].
        network: see :func:`~srlab.extensions.upscale.enlarging.enlarge`.
        size: of the result.
        options: tiles and self-ensemble.
        on_progress: called with the part that is done, 0 to 1.

    Raises:
        ValueError: options that the network does not allow.
        MemoryError: not even the smallest tile, or the result itself, fits into memory.
    """
    varies = picture.alpha is not None and float(np.ptp(picture.alpha)) > 0
    passes, done = 2 if varies else 1, 0

    def report(progress: Progress) -> None:
        if on_progress is not None:
            on_progress((done + progress.done / max(1, progress.total)) / passes)

    def run(plane: FloatImage) -> FloatImage:
        is_gray = plane.shape[2] == 1
        rgb = np.repeat(plane, 3, axis=2) if is_gray else plane
        result = enlarge(rgb, network, size, options, on_progress=report)
        return result.mean(axis=2, keepdims=True) if is_gray else result

    if picture.alpha is None:
        return replace(picture, colors=run(picture.colors))
    colors = run(bleed(picture.colors, picture.alpha > 0))
    done = 1
    if varies:
        alpha = run(picture.alpha[..., None])[..., 0]
    else:
        alpha = np.full(size, picture.alpha.flat[0], np.float32)
    return replace(picture, colors=colors, alpha=alpha)


def bleed(colors: FloatImage, visible: NDArray[np.bool_]) -> FloatImage:
    """``colors`` (H, W, C), those that are not visible (H, W) replaced by the nearest that is.

    "Nearest" is OpenCV's distance transform with a mask of 5x5. Nothing changes if nothing is visible.
    """
    if visible.all() or not visible.any():
        return colors
    _, labels = cv2.distanceTransformWithLabels(
        (~visible).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    labels = labels.astype(np.int64)
    source = np.empty(int(labels.max()) + 1, np.int64)
    source[labels[visible]] = np.flatnonzero(visible)
    filled = colors.reshape(-1, colors.shape[2])[source[labels.ravel()]]
    return filled.reshape(colors.shape)
