"""Where restorations are worst, and where they differ most: the same square of each, beside the reference."""

import base64
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srlab.extensions.report.ablation import psnr_of
from srlab.extensions.report.comparison import Comparison, Configuration
from srlab.extensions.report.runs import ImageScore

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Panel", "Patch", "PatchSelection", "select_patches", "shown_configurations"]

_SIDE = 64  # of a scored square, in HR pixels
_CONTEXT = 128  # side of what is embedded around it
_STRIDE = 32
_MOST_SHOWN = 5  # restorations side by side
_MOST_OF_AN_IMAGE = 2
_PEAK = 255.0
BICUBIC, REFERENCE = "bicubic", "HR"


@dataclass(frozen=True)
class Panel:
    """One restoration of a square.

    Attributes:
        title: row number and label, ``bicubic`` or ``HR``.
        number: of the configuration; None for bicubic and HR.
        psnr: of the square's luma in dB; None for the reference.
        png: data URI of the square with its surroundings.
    """

    title: str
    number: int | None
    psnr: float | None
    png: str


@dataclass(frozen=True)
class Patch:
    """One square of one image.

    Attributes:
        zoom: side of what is embedded over that of the square.
        shift: of the embedded picture, as shares of its sides, that brings the square to the middle.
    """

    image: str
    reason: str
    top: int
    left: int
    side: int
    zoom: float
    shift: tuple[float, float]
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class PatchSelection:
    """Patches, and what could not be shown."""

    patches: tuple[Patch, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Square:
    image: str
    top: int
    left: int
    side: int
    worst: float
    """Mean squared error of the luma, mean over the configurations."""
    spread: float
    """Largest difference of their PSNRs in dB."""


def select_patches(comparison: Comparison, *, count: int) -> PatchSelection:
    """Half of ``count`` squares are where all do worst, half where they differ most.

    Squares do not overlap, and at most two come from one image for each reason. Images take part whose source
    is still there and that every shown configuration saved.
    """
    shown = shown_configurations(comparison)
    if not shown or count < 1:
        return PatchSelection(patches=(), notes=())
    saved = {each.number: _saved_images(each) for each in shown}
    names = [name for name in saved[shown[0].number] if all(name in images for images in saved.values())]
    notes, squares = [], []
    for name in names:
        try:
            loaded = _load([images[name] for images in saved.values()])
        except (ValueError, OSError) as error:
            notes.append(f"{name} is not among the patches: {error}")
            continue
        squares += _squares(name, loaded)
    bicubic = all(_degradation(each) == "BicubicDegradation" for each in shown)
    patches = [
        _patch(square, reason, shown, [images[square.image] for images in saved.values()], bicubic=bicubic)
        for square, reason in _chosen(squares, count, several=len(shown) > 1)
    ]
    return PatchSelection(patches=tuple(patches), notes=tuple(notes))


def shown_configurations(comparison: Comparison) -> list[Configuration]:
    """Best, baseline, worst, then the next best, of those that saved restorations; in table order."""
    saved = [each for each in comparison.finished if _saved_images(each)]
    scores = {each.number: psnr_of(each, comparison.sets) for each in saved}
    means = {number: -math.inf if score is None else score.mean for number, score in scores.items()}
    ranked = sorted(saved, key=lambda each: -means[each.number])
    wanted = [*ranked[:1], *(each for each in saved if each is comparison.baseline), *ranked[-1:], *ranked]
    chosen = list({each.number: each for each in wanted}.values())[:_MOST_SHOWN]
    return sorted(chosen, key=lambda each: each.number)


def _saved_images(configuration: Configuration) -> dict[str, ImageScore]:
    """Of the first run, seeds in order, that saved any; what was deleted since is no image."""
    for run in configuration.finished:
        images = {each.key: each for each in run.images if each.restored and Path(each.restored).is_file()}
        if images:
            return images
    return {}


def _degradation(configuration: Configuration) -> str:
    return str(configuration.finished[0].config.get("degradation._target_")).rpartition(".")[-1]


def _load(images: Sequence[ImageScore]) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
    """Reference and restorations, (3, H, W); rows and columns of the reference beyond them are cut off.

    Raises:
        ValueError: a file is missing or damaged, or sizes do not belong together.
    """
    from srlab.data.images import read_image

    source = images[0].hr_file
    if source is None or not Path(source).is_file():
        raise ValueError(f"its source {source} is not there")
    restored = [_colored(read_image(Path(image.restored or ""))) for image in images]
    shapes = {array.shape for array in restored}
    reference = _colored(read_image(Path(source)))
    height, width = restored[0].shape[1:]
    if len(shapes) > 1 or reference.shape[1] < height or reference.shape[2] < width:
        raise ValueError(f"restorations of {sorted(shapes)} and a source of {reference.shape} do not match")
    return reference[:, :height, :width], restored


def _colored(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.broadcast_to(image, (3, *image.shape[1:]))


def _squares(name: str, loaded: tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]) -> Iterator[_Square]:
    reference, restored = loaded
    height, width = reference.shape[1:]
    side = min(_SIDE, height, width)
    target = _luma(reference)
    sums = [_integral((_luma(image) - target) ** 2) for image in restored]
    for top, left in product(_starts(height, side), _starts(width, side)):
        errors = [_box(each, top, left, side) for each in sums]
        psnrs = [_psnr(error) for error in errors]
        spread = max(psnrs) - min(psnrs) if max(psnrs) < float("inf") else 0.0
        yield _Square(name, top, left, side, worst=sum(errors) / len(errors), spread=spread)


def _starts(length: int, side: int) -> list[int]:
    """Every stride, and the last place that fits."""
    return sorted({*range(0, length - side + 1, _STRIDE), length - side})


def _luma(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    import torch

    from srlab.ops.color import luma_double

    return luma_double(torch.from_numpy(np.array(image)))[0].numpy()


def _integral(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.pad(plane.cumsum(0).cumsum(1), ((1, 0), (1, 0)))


def _box(sums: NDArray[np.float64], top: int, left: int, side: int) -> float:
    bottom, right = top + side, left + side
    total = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return max(0.0, float(total)) / side**2


def _psnr(error: float) -> float:
    return float(10 * np.log10(_PEAK**2 / error)) if error else float("inf")


def _chosen(squares: Sequence[_Square], count: int, *, several: bool) -> list[tuple[_Square, str]]:
    taken: list[_Square] = []
    chosen: list[tuple[_Square, str]] = []
    worst = sorted(squares, key=lambda each: (-each.worst, each.image, each.top, each.left))
    spread = sorted(squares, key=lambda each: (-each.spread, each.image, each.top, each.left))
    plan = [("worst of all", worst, count - count // 2), ("largest difference", spread, count // 2)]
    for reason, ranked, wanted in plan if several else [("worst of all", worst, count)]:
        found: list[_Square] = []
        for square in ranked:
            if len(found) == wanted:
                break
            crowded = sum(each.image == square.image for each in found) >= _MOST_OF_AN_IMAGE
            if not crowded and not any(_overlaps(square, each) for each in taken):
                found.append(square)
                taken.append(square)
        chosen += [(square, reason) for square in found]
    return chosen


def _overlaps(one: _Square, other: _Square) -> bool:
    near = abs(one.top - other.top) < one.side and abs(one.left - other.left) < one.side
    return one.image == other.image and near


def _patch(
    square: _Square,
    reason: str,
    shown: Sequence[Configuration],
    images: Sequence[ImageScore],
    *,
    bicubic: bool,
) -> Patch:
    reference, restored = _load(images)
    height, width = reference.shape[1:]
    context = min(_CONTEXT, height, width)
    top = _around(square.top, square.side, context, height)
    left = _around(square.left, square.side, context, width)

    def panel(title: str, number: int | None, image: NDArray[np.uint8]) -> Panel:
        inner = (slice(square.top, square.top + square.side), slice(square.left, square.left + square.side))
        error = float(((_luma(image)[inner] - _luma(reference)[inner]) ** 2).mean())
        embedded = image[:, top : top + context, left : left + context]
        psnr = None if title == REFERENCE else _psnr(error)
        return Panel(title=title, number=number, psnr=psnr, png=_data_uri(embedded))

    pairs = zip(shown, restored, strict=True)
    panels = [panel(f"{each.number}: {each.label}", each.number, image) for each, image in pairs]
    scale = shown[0].finished[0].config.get("scale")
    if bicubic and isinstance(scale, int):
        panels.insert(0, panel(BICUBIC, None, _bicubic(reference, scale)))
    panels.append(panel(REFERENCE, None, reference))
    middle = context / 2 - square.side / 2
    return Patch(
        image=square.image,
        reason=reason,
        top=square.top,
        left=square.left,
        side=square.side,
        zoom=context / square.side,
        shift=((middle - (square.left - left)) / context, (middle - (square.top - top)) / context),
        panels=tuple(panels),
    )


def _around(start: int, side: int, context: int, length: int) -> int:
    return max(0, min(length - context, start - (context - side) // 2))


def _bicubic(reference: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Shrunk and enlarged again, as MATLAB would, through 8 bits."""
    import torch

    from srlab.ops.resize import imresize

    hr_image: Tensor = torch.from_numpy(np.array(reference))
    lr_image = imresize(hr_image, size=(hr_image.shape[1] // scale, hr_image.shape[2] // scale), mode="uint8")
    return imresize(lr_image, size=(hr_image.shape[1], hr_image.shape[2]), mode="uint8").numpy()


def _data_uri(image: NDArray[np.uint8]) -> str:
    from PIL import Image

    stream = io.BytesIO()
    pixels: Any = np.ascontiguousarray(image.transpose(1, 2, 0))
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
