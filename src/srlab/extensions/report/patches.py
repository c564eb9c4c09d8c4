"""Where restorations are worst, and where they differ most: the same square of each, with the reference."""

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srlab.extensions.report.ablation import mean_score
from srlab.extensions.report.comparison import Comparison, Configuration
from srlab.extensions.report.runs import ImageScore

__all__ = ["Panel", "Patch", "PatchSelection", "select_patches", "shown_configurations"]

_SIDE = 64  # of a scored square, in HR pixels
_CONTEXT = 128  # side of what is embedded around it
_STRIDE = 32
_MOST_SHOWN = 5  # restorations side by side
_MOST_OF_AN_IMAGE = 2
_PEAK = 255.0
BICUBIC, REFERENCE = "bicubic", "HR"

_Image = NDArray[np.uint8]  # (3, H, W)


@dataclass(frozen=True)
class Panel:
    """One restoration of a square, ``bicubic`` or ``HR``; ``png`` is a data URI with its surroundings.

    ``number`` is of the configuration, ``psnr`` of the square's luma in dB, None for the reference.
    """

    title: str
    number: int | None
    psnr: float | None
    png: str


@dataclass(frozen=True)
class Patch:
    """One square of one image.

    Attributes:
        zoom: side of the embedded picture over that of the square.
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
    """Patches, and notes on images that could not be shown."""

    patches: tuple[Patch, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Square:
    """``worst``: mean squared error of the luma, mean over the configurations; ``spread``: of PSNRs in dB."""

    image: str
    top: int
    left: int
    side: int
    worst: float
    spread: float

    def overlaps(self, other: "_Square") -> bool:
        near = abs(self.top - other.top) < self.side and abs(self.left - other.left) < self.side
        return self.image == other.image and near


def select_patches(comparison: Comparison, *, count: int) -> PatchSelection:
    """Half of ``count`` squares are where all do worst, half where they differ most.

    Squares do not overlap, and at most two come from one image for each reason. Only images whose source
    still exists and that every shown configuration saved are considered.
    """
    shown = shown_configurations(comparison)
    if not shown or count < 1:
        return PatchSelection()
    saved = [_saved_images(each) for each in shown]
    names = [name for name in saved[0] if all(name in images for images in saved)]
    notes, squares = [], []
    for name in names:
        try:
            squares += _squares(name, *_load([images[name] for images in saved]))
        except (ValueError, OSError) as error:  # noqa: PERF203
            notes.append(f"{name} is not among the patches: {error}")
    patches = [
        _patch(square, reason, shown, [images[square.image] for images in saved])
        for square, reason in _chosen(squares, count, several=len(shown) > 1)
    ]
    return PatchSelection(patches=tuple(patches), notes=tuple(notes))


def shown_configurations(comparison: Comparison) -> list[Configuration]:
    """Best, baseline, worst, then the next best, of those that saved restorations; in table order."""
    saved = [each for each in comparison.finished if _saved_images(each)]

    def quality(configuration: Configuration) -> float:
        score = mean_score(configuration, comparison.sets)
        return -math.inf if score is None else score.mean

    ranked = sorted(saved, key=quality, reverse=True)
    wanted = [*ranked[:1], *(each for each in saved if each is comparison.baseline), *ranked[-1:], *ranked]
    chosen = list({each.number: each for each in wanted}.values())[:_MOST_SHOWN]
    return sorted(chosen, key=lambda each: each.number)


def _saved_images(configuration: Configuration) -> Mapping[str, ImageScore]:
    """Of the first run, in the order of the seeds, that saved any that still exist."""
    for run in configuration.finished:
        images = {each.key: each for each in run.images if each.restored and Path(each.restored).is_file()}
        if images:
            return images
    return {}


def _load(images: Sequence[ImageScore]) -> tuple[_Image, list[_Image]]:
    """Reference and restorations; rows and columns of the reference beyond the restorations are cut off.

    Raises:
        ValueError: a file is missing or damaged, or sizes do not match.
    """
    from srlab.data.images import read_image

    source = images[0].hr_file
    if source is None or not Path(source).is_file():
        raise ValueError(f"its source {source} does not exist")
    files = [source, *(image.restored or "" for image in images)]
    reference, *restored = (_colored(read_image(Path(file))) for file in files)
    shapes = {array.shape for array in restored}
    height, width = restored[0].shape[1:]
    if len(shapes) > 1 or reference.shape[1] < height or reference.shape[2] < width:
        raise ValueError(f"restorations of {sorted(shapes)} and a source of {reference.shape} do not match")
    return reference[:, :height, :width], restored


def _colored(image: _Image) -> _Image:
    return np.broadcast_to(image, (3, *image.shape[1:]))


def _squares(name: str, reference: _Image, restored: Sequence[_Image]) -> Iterator[_Square]:
    height, width = reference.shape[1:]
    side = min(_SIDE, height, width)
    target = _luma(reference)
    errors = np.stack([(_luma(image) - target) ** 2 for image in restored])
    # sums over rectangles are differences of sums from the top left corner
    sums = np.pad(errors.cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0)))
    for top, left in product(_starts(height, side), _starts(width, side)):
        bottom, right = top + side, left + side
        total = sums[:, bottom, right] - sums[:, top, right] - sums[:, bottom, left] + sums[:, top, left]
        means = [max(0.0, float(each)) / side**2 for each in total]
        psnrs = [_psnr(mean) for mean in means]
        spread = max(psnrs) - min(psnrs) if max(psnrs) < math.inf else 0.0
        yield _Square(name, top, left, side, worst=sum(means) / len(means), spread=spread)


def _starts(length: int, side: int) -> list[int]:
    """Every stride, and the last place that fits."""
    return sorted({*range(0, length - side + 1, _STRIDE), length - side})


def _luma(image: _Image) -> NDArray[np.float64]:
    import torch

    from srlab.ops.color import luma_double

    return luma_double(torch.from_numpy(np.array(image)))[0].numpy()


def _psnr(error: float) -> float:
    return 10 * math.log10(_PEAK**2 / error) if error else math.inf


def _chosen(squares: Sequence[_Square], count: int, *, several: bool) -> list[tuple[_Square, str]]:
    worst = sorted(squares, key=lambda each: (-each.worst, each.image, each.top, each.left))
    spread = sorted(squares, key=lambda each: (-each.spread, each.image, each.top, each.left))
    plan = [("worst of all", worst, count - count // 2), ("largest difference", spread, count // 2)]
    chosen: list[tuple[_Square, str]] = []
    for reason, ranked, wanted in plan if several else [("worst of all", worst, count)]:
        found: list[_Square] = []
        for square in ranked:
            crowded = sum(each.image == square.image for each in found) >= _MOST_OF_AN_IMAGE
            taken = (*found, *(each for each, _ in chosen))
            if len(found) < wanted and not crowded and not any(map(square.overlaps, taken)):
                found.append(square)
        chosen += [(square, reason) for square in found]
    return chosen


def _patch(
    square: _Square, reason: str, shown: Sequence[Configuration], images: Sequence[ImageScore]
) -> Patch:
    reference, restored = _load(images)
    height, width = reference.shape[1:]
    side, context = square.side, min(_CONTEXT, height, width)
    top, left = _around(square.top, side, context, height), _around(square.left, side, context, width)
    inner = (slice(square.top, square.top + side), slice(square.left, square.left + side))

    def panel(title: str, number: int | None, image: _Image) -> Panel:
        error = float(((_luma(image)[inner] - _luma(reference)[inner]) ** 2).mean())
        embedded = image[:, top : top + context, left : left + context]
        return Panel(title, number, None if title == REFERENCE else _psnr(error), _data_uri(embedded))

    panels = [
        panel(f"{each.number}: {each.label}", each.number, image)
        for each, image in zip(shown, restored, strict=True)
    ]
    scale = _bicubic_scale(shown)
    if scale is not None:
        panels.insert(0, panel(BICUBIC, None, _bicubic(reference, scale)))
    middle = (context - side) / 2
    return Patch(
        image=square.image,
        reason=reason,
        top=square.top,
        left=square.left,
        side=side,
        zoom=context / side,
        shift=((middle - (square.left - left)) / context, (middle - (square.top - top)) / context),
        panels=(*panels, panel(REFERENCE, None, reference)),
    )


def _around(start: int, side: int, context: int, length: int) -> int:
    return max(0, min(length - context, start - (context - side) // 2))


def _bicubic_scale(shown: Sequence[Configuration]) -> int | None:
    """Scale of the runs if their low-resolution images are bicubic, else None."""
    configs = [each.finished[0].config for each in shown]
    degradations = {str(config.get("degradation._target_")).rpartition(".")[-1] for config in configs}
    return configs[0].get("scale") if degradations == {"BicubicDegradation"} else None


def _bicubic(reference: _Image, scale: int) -> _Image:
    """Downsampled and upsampled like MATLAB, through 8 bits."""
    import torch

    from srlab.ops.resize import imresize

    height, width = reference.shape[1:]
    hr_image = torch.from_numpy(np.array(reference))
    lr_image = imresize(hr_image, size=(height // scale, width // scale), mode="uint8")
    return imresize(lr_image, size=(height, width), mode="uint8").numpy()


def _data_uri(image: _Image) -> str:
    from PIL import Image

    stream = io.BytesIO()
    pixels: Any = np.ascontiguousarray(image.transpose(1, 2, 0))
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
