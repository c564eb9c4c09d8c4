"""Where restorations are worst, and where they differ most: the same square of each, with the reference."""

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from srlab.data.images import read_image
from srlab.extensions.report.ablation import mean_score
from srlab.extensions.report.comparison import Comparison, Configuration
from srlab.extensions.report.runs import ImageScore
from srlab.ops.color import luma_double
from srlab.ops.resize import imresize

_SIDE = 64  # of a scored square, in HR pixels
_STRIDE = 32
_MOST_SHOWN = 5  # restorations side by side
_MOST_OF_AN_IMAGE = 2
_PEAK = 255.0


@dataclass(frozen=True)
class Panel:
    """One restoration of a square: PSNR of its luma, and its pixels as a data URI."""

    title: str
    number: int | None
    psnr: float | None
    png: str


@dataclass(frozen=True)
class Patch:
    """One square of one image."""

    image: str
    reason: str
    top: int
    left: int
    side: int
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class PatchSelection:
    """Patches, and notes on images that could not be shown."""

    patches: tuple[Patch, ...] = ()
    notes: tuple[str, ...] = ()


class _Square(NamedTuple):
    """``worst``: mean squared error of the luma, mean over the configurations; ``spread``: of PSNRs in dB."""

    image: str
    top: int
    left: int
    side: int
    worst: float
    spread: float


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
    differing = count // 2 if len(shown) > 1 else 0
    worst = _free(sorted(squares, key=lambda each: -each.worst), count - differing, [])
    spread = _free(sorted(squares, key=lambda each: -each.spread), differing, worst)
    reasons = dict.fromkeys(worst, "worst of all") | dict.fromkeys(spread, "largest difference")
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


def _load(images: Sequence[ImageScore]) -> Tensor:
    """(N, 3, H, W) uint8: the reference, then the restorations, to whose size it is cropped.

    Raises:
        ValueError: a file is missing or damaged, or sizes do not match.
    """
    source = images[0].hr_file
    if source is None or not Path(source).is_file():
        raise ValueError(f"its source {source} does not exist")
    reference, *restored = (
        read_image(Path(path)) for path in (source, *(image.restored or "" for image in images))
    )
    height, width = restored[0].shape[1:]
    sizes = {image.shape[1:] for image in restored}
    if len(sizes) > 1 or reference.shape[1] < height or reference.shape[2] < width:
        raise ValueError(
            f"restorations {sorted(sizes)} and source {reference.shape[1:]} do not match in size"
        )
    cropped = (reference[:, :height, :width], *restored)
    return torch.stack([torch.from_numpy(image).expand(3, height, width) for image in cropped])


def _squares(name: str, images: Tensor) -> Iterator[_Square]:
    """On a grid from the top left corner; what it leaves at the other borders is in no square."""
    side = min(_SIDE, *images.shape[2:])
    means = F.avg_pool2d(_squared_errors(images), side, _STRIDE).flatten(1)
    columns = (images.shape[3] - side) // _STRIDE + 1
    for place, errors in enumerate(means.T.tolist()):
        psnrs = list(map(_psnr, errors))
        spread = max(psnrs) - min(psnrs) if max(psnrs) < math.inf else 0.0
        row, column = divmod(place, columns)
        worst = sum(errors) / len(errors)
        yield _Square(name, row * _STRIDE, column * _STRIDE, side, worst=worst, spread=spread)


def _squared_errors(images: Tensor) -> Tensor:
    """(N - 1, H, W) float64: of the luma, of all images but the first, from the first."""
    luma = luma_double(images)[:, 0]
    return (luma[1:] - luma[:1]) ** 2


def _psnr(error: float) -> float:
    return 10 * math.log10(_PEAK**2 / error) if error else math.inf


def _free(ranked: Sequence[_Square], count: int, taken: Sequence[_Square]) -> list[_Square]:
    """The first ``count`` that overlap nothing, at most two of an image."""
    found: list[_Square] = []
    for square in ranked:
        is_crowded = sum(each.image == square.image for each in found) >= _MOST_OF_AN_IMAGE
        overlaps = any(_overlap(square, each) for each in (*taken, *found))
        if len(found) < count and not is_crowded and not overlaps:
            found.append(square)
    return found


def _overlap(one: _Square, other: _Square) -> bool:
    near = abs(one.top - other.top) < one.side and abs(one.left - other.left) < one.side
    return one.image == other.image and near


def _patch(square: _Square, reason: str, shown: Sequence[Configuration], images: Tensor) -> Patch:
    titles: list[tuple[str, int | None]] = [(f"{each.number}: {each.label}", each.number) for each in shown]
    scale = _bicubic_scale(shown)
    if scale is not None:
        images = torch.cat([images[:1], _bicubic(images[:1], scale), images[1:]])
        titles.insert(0, ("bicubic", None))
    rows, columns = (slice(start, start + square.side) for start in (square.top, square.left))
    images = images[:, :, rows, columns]
    reference, *pictures = map(_data_uri, images)
    panels = [
        Panel(title, number, _psnr(float(error.mean())), picture)
        for (title, number), error, picture in zip(titles, _squared_errors(images), pictures, strict=True)
    ]
    panels.append(Panel("HR", None, None, reference))
    return Patch(square.image, reason, square.top, square.left, square.side, tuple(panels))


def _bicubic_scale(shown: Sequence[Configuration]) -> int | None:
    """Scale of the runs if their low-resolution images are bicubic, else None."""
    configs = [each.finished[0].config for each in shown]
    degradations = {str(config.get("degradation._target_")).rpartition(".")[-1] for config in configs}
    return configs[0].get("scale") if degradations == {"BicubicDegradation"} else None


def _bicubic(reference: Tensor, scale: int) -> Tensor:
    """Downsampled and upsampled like MATLAB, through 8 bits."""
    height, width = reference.shape[2:]
    lr_image = imresize(reference, size=(height // scale, width // scale), mode="uint8")
    return imresize(lr_image, size=(height, width), mode="uint8")


def _data_uri(image: Tensor) -> str:
    stream = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
