"""``srlab.upscale``: arrays, tensors and Pillow's images in, the same kind out."""

from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from srlab.extensions.upscale.choosing import Precision, choose
from srlab.extensions.upscale.enlarging import Target
from srlab.extensions.upscale.picture import Picture, from_samples, to_samples
from srlab.extensions.upscale.planes import enlarge_picture
from srlab.extensions.upscale.reading import pillow_samples
from srlab.models.network import Network
from srlab.tasks.restoration import Restoration

ImageLike = TypeVar("ImageLike", NDArray[Any], Tensor, Image.Image)

# Floating-point images may exceed [0, 1] a little, as after interpolation; more is a mistake of range.
_SLACK = 0.5


def upscale(
    image: ImageLike,
    network: Network | str | Path | None = None,
    *,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    tile: int | Literal["auto"] = "auto",
    exact: bool = False,
    ensemble: bool = False,
    device: str | None = None,
    precision: Precision | None = None,
) -> ImageLike:
    """Enlarge an image; the result is of the same kind, dtype and layout, clamped and rounded once.

    Args:
        image: gray, gray with alpha, RGB or RGB with alpha, as one of

            - a NumPy array (H, W) or (H, W, 1 to 4), uint8, uint16, or floating point in [0, 1];
            - a tensor (1 to 4, H, W) or (B, 1 to 4, H, W) of these dtypes, on any device;
            - an image of Pillow: modes L, LA, RGB, RGBA and I;16 come back as they are, 1 as L, palettes and
              others as RGB or RGBA. The pixels are taken as they are: EXIF's orientation is not applied.
        network: a network, which runs on its device and in its dtype, or what ``--model`` takes; None:
            the network with shipped weights, else bicubic. Load it once (:func:`srlab.load_model`) to
            enlarge many images.
        scale: output over input side, any positive number; default: the network's own.
        size: (height, width) of the result instead.
        tile: LR side of tiles; 0: the whole image at once; ``auto``: what fits into memory.
        exact: tiles change nothing, for more time.
        ensemble: the mean over the eight flips and turns, for eight times the time.
        device: where a network that is loaded here runs; default: CUDA where there is one.
        precision: of a network that is loaded here: float32 (default), bfloat16 or float16.

    Raises:
        TypeError: another kind of image.
        ValueError: another shape, dtype or range, or a network that cannot be loaded.
        MemoryError: not even the smallest tile, or the result itself, fits into memory.

    Example:
        >>> larger = srlab.upscale(Image.open("photo.jpg"), "model_x4.pt", scale=2.5)
    """
    if scale is not None and size is not None:
        raise ValueError(f"give either a scale or a size, got scale={scale}, size={size}")
    ready = _ready(network, scale, device, precision)
    options = Restoration(tile=tile, exact=exact, ensemble=ensemble)

    def enlarged(samples: NDArray[Any]) -> NDArray[Any]:
        picture = _picture(samples)
        target = size or Target(ready.scale if scale is None else scale).size_for(*picture.size)
        return _like(samples, enlarge_picture(picture, ready, target, options))

    if isinstance(image, Image.Image):
        return _of_pillow(enlarged(pillow_samples(image)))
    if isinstance(image, np.ndarray):
        return enlarged(image)
    if not isinstance(image, Tensor):
        raise TypeError(f"expected a NumPy array, a tensor or an image of Pillow, got {type(image).__name__}")
    if image.ndim not in (3, 4):
        raise ValueError(f"expected a tensor (C, H, W) or (B, C, H, W), got {tuple(image.shape)}")
    batch = image.detach().cpu().reshape(-1, *image.shape[-3:]).movedim(1, -1)
    # NumPy has no bfloat16
    arrays = (batch.float() if batch.dtype == torch.bfloat16 else batch).numpy()
    results = torch.stack([torch.from_numpy(enlarged(each)) for each in arrays]).movedim(-1, 1)
    results = results.to(device=image.device, dtype=image.dtype).contiguous()
    return results[0] if image.ndim == 3 else results


def _ready(
    network: Network | str | Path | None, scale: float | None, device: str | None, precision: Precision | None
) -> Network:
    if not isinstance(network, Network):
        chosen = choose(network, scale=scale, device=device or "auto", precision=precision or "float32")
        return chosen.network
    if device is not None or precision is not None:
        raise ValueError(
            "device and precision are for networks that are loaded here; move this one with network.to(…)"
        )
    return network


def _picture(samples: NDArray[Any]) -> Picture:
    channels = 1 if samples.ndim == 2 else samples.shape[-1]
    if samples.ndim not in (2, 3) or channels not in (1, 2, 3, 4) or not samples.size:
        raise ValueError(
            f"expected (H, W) or 1 to 4 channels (gray, RGB, each with alpha), got {samples.shape}"
        )
    if samples.dtype in (np.uint8, np.uint16):
        return Picture(*from_samples(samples))
    if not np.issubdtype(samples.dtype, np.floating):
        raise ValueError(f"expected uint8, uint16 or floating point in [0, 1], got {samples.dtype}")
    least, most = float(samples.min()), float(samples.max())
    if not (least >= -_SLACK and most <= 1 + _SLACK):
        raise ValueError(
            f"floating-point images are in [0, 1], got {least:g} to {most:g}; divide by 255, for example"
        )
    values = np.clip(samples.astype(np.float32), 0, 1).reshape(*samples.shape[:2], channels)
    has_alpha = channels in (2, 4)
    return Picture(values[..., : channels - has_alpha], values[..., -1] if has_alpha else None)


def _like(samples: NDArray[Any], picture: Picture) -> NDArray[Any]:
    """Layout and dtype of ``samples``."""
    if samples.dtype in (np.uint8, np.uint16):
        result = to_samples(picture, picture.bits)
    else:
        planes = [picture.colors] if picture.alpha is None else [picture.colors, picture.alpha[..., None]]
        result = np.clip(np.concatenate(planes, axis=2), 0, 1).astype(samples.dtype)
    return result[..., 0] if samples.ndim == 2 else result


def _of_pillow(samples: NDArray[Any]) -> Image.Image:
    is_plane = samples.ndim == 2 or samples.shape[2] == 1
    return Image.fromarray(samples.reshape(samples.shape[:2]) if is_plane else samples)
