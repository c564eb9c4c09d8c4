"""Where restorations are worst, and where they differ most: the same square of each, with the reference."""

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srlab.extensions.report.ablation import mean_score
from srlab.extensions.report.comparison import Comparison, Configuration
from srlab.extensions.report.runs import ImageScore

_SIDE = 64  # of a scored square, in HR pixels
_CONTEXT = 128  # side of what is embedded around it
_STRIDE = 32
_MOST_SHOWN = 5  # restorations side by side
_MOST_OF_AN_IMAGE = 2
_PEAK = 255.0
BICUBIC, REFERENCE = "bicubic", "HR"

_Images = NDArray[np.uint8]  # (N, 3, H, W), or (3, H, W) for one


@dataclass(frozen=True)
class Panel:
    """One restoration of a square: PSNR of its luma, and a data URI of it with its surroundings."""

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

    Only images whose source still exists and that every shown configuration saved are considered.
    """
    shown = shown_configurations(comparison)
    if not shown or count < 1:
        return PatchSelection()
    saved = [_saved_images(each) for each in shown]
    notes, squares = [], []
    for name in saved[0]:
        if all(name in images for images in saved):
            try:
                squares += _squares(name, _load([images[name] for images in saved]))
            except (ValueError, OSError) as error:
                notes.append(f"{name} is not among the patches: {error}")
    worst = sorted(squares, key=lambda each: (-each.worst, each.image, each.top, each.left))
    spread = sorted(squares, key=lambda each: (-each.spread, each.image, each.top, each.left))
    differing = count // 2 if len(shown) > 1 else 0
    chosen = _free(worst, count - differing, [])
    reasons = dict.fromkeys(chosen, "worst of all")
    reasons |= dict.fromkeys(_free(spread, differing, chosen), "largest difference")
    patches = [
        _patch(square, reason, shown, _load([images[square.image] for images in saved]))
        for square, reason in reasons.items()
    ]
    return PatchSelection(tuple(patches), tuple(notes))


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


def _load(images: Sequence[ImageScore]) -> _Images:
    """The reference, then the restorations, to whose size it is cropped.

    Raises:
        ValueError: a file is missing or damaged, or sizes do not match.
    """
    from srlab.data.images import read_image

    source = images[0].hr_file
    if source is None or not Path(source).is_file():
        raise ValueError(f"its source {source} does not exist")
    paths = [source, *(image.restored or "" for image in images)]
    reference, *restored = (read_image(Path(path)) for path in paths)
    height, width = restored[0].shape[1:]
    sizes = {image.shape[1:] for image in restored}
    if len(sizes) > 1 or reference.shape[1] < height or reference.shape[2] < width:
        raise ValueError(
            f"restorations {sorted(sizes)} and source {reference.shape[1:]} do not match in size"
        )
    cropped = (reference[:, :height, :width], *restored)
    return np.stack([np.broadcast_to(image, (3, height, width)) for image in cropped])


def _squares(name: str, images: _Images) -> Iterator[_Square]:
    height, width = images.shape[2:]
    side = min(_SIDE, height, width)
    # sums over squares are differences of sums from the top left corner
    sums = np.pad(_squared_errors(images).cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0)))
    starts = [sorted({*range(0, each - side + 1, _STRIDE), each - side}) for each in (height, width)]
    for top, left in product(*starts):
        bottom, right = top + side, left + side
        total = sums[:, bottom, right] - sums[:, top, right] - sums[:, bottom, left] + sums[:, top, left]
        means = [max(0.0, float(each)) / side**2 for each in total]
        psnrs = [_psnr(mean) for mean in means]
        spread = max(psnrs) - min(psnrs) if max(psnrs) < math.inf else 0.0
        yield _Square(name, top, left, side, worst=sum(means) / len(means), spread=spread)


def _squared_errors(images: _Images) -> NDArray[np.float64]:
    """Of the luma, of all images but the first, from the first."""
    import torch

    from srlab.ops.color import luma_double

    luma = luma_double(torch.from_numpy(images))[:, 0].numpy()
    return (luma[1:] - luma[:1]) ** 2


def _psnr(error: float) -> float:
    return 10 * math.log10(_PEAK**2 / error) if error else math.inf


def _free(ranked: Sequence[_Square], count: int, taken: Sequence[_Square]) -> list[_Square]:
    """The first ``count`` that overlap nothing, at most two of an image."""
    found: list[_Square] = []
    for square in ranked:
        crowded = sum(each.image == square.image for each in found) >= _MOST_OF_AN_IMAGE
        if len(found) < count and not crowded and not any(map(square.overlaps, (*taken, *found))):
            found.append(square)
    return found


def _patch(square: _Square, reason: str, shown: Sequence[Configuration], images: _Images) -> Patch:
    side, context = square.side, min(_CONTEXT, *images.shape[2:])
    start = (square.top, square.left)
    # the square is in the middle of its surroundings, unless that is beyond a border of the image
    corner = [
        max(0, min(length - context, place - (context - side) // 2))
        for place, length in zip(start, images.shape[2:], strict=True)
    ]
    titles: list[tuple[str, int | None]] = [(f"{each.number}: {each.label}", each.number) for each in shown]
    scale = _bicubic_scale(shown)
    if scale is not None:
        images = np.insert(images, 1, _bicubic(images[0], scale), axis=0)
        titles.insert(0, (BICUBIC, None))
    errors = _squared_errors(images)[:, start[0] : start[0] + side, start[1] : start[1] + side]
    embedded = images[:, :, corner[0] : corner[0] + context, corner[1] : corner[1] + context]
    panels = [
        Panel(title, number, _psnr(float(error.mean())), _data_uri(image))
        for (title, number), error, image in zip(titles, errors, embedded[1:], strict=True)
    ]
    down, right = (((context - side) / 2 - (start[axis] - corner[axis])) / context for axis in (0, 1))
    return Patch(
        image=square.image,
        reason=reason,
        top=square.top,
        left=square.left,
        side=side,
        zoom=context / side,
        shift=(right, down),
        panels=(*panels, Panel(REFERENCE, None, None, _data_uri(embedded[0]))),
    )


def _bicubic_scale(shown: Sequence[Configuration]) -> int | None:
    """Scale of the runs if their low-resolution images are bicubic, else None."""
    configs = [each.finished[0].config for each in shown]
    degradations = {str(config.get("degradation._target_")).rpartition(".")[-1] for config in configs}
    return configs[0].get("scale") if degradations == {"BicubicDegradation"} else None


def _bicubic(reference: _Images, scale: int) -> _Images:
    """Downsampled and upsampled like MATLAB, through 8 bits."""
    import torch

    from srlab.ops.resize import imresize

    height, width = reference.shape[1:]
    lr_image = imresize(torch.from_numpy(reference), size=(height // scale, width // scale), mode="uint8")
    return imresize(lr_image, size=(height, width), mode="uint8").numpy()


def _data_uri(image: _Images) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
