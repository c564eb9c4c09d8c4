"""Where restorations are worst, and where they differ most: the same square of each, with the reference."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from srlab.data.images import read_image
from srlab.extensions.report.ablation import mean_psnr
from srlab.extensions.report.comparison import Comparison, Configuration
from srlab.extensions.report.runs import ImageScore
from srlab.ops.color import luma_double
from srlab.ops.resize import imresize

_SIDE = 64  # of a scored square, in HR pixels
_STRIDE = 32
_MOST_SHOWN = 5  # restorations side by side
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
    image: str
    top: int
    left: int
    side: int


def select_patches(comparison: Comparison, *, count: int) -> PatchSelection:
    """Half of ``count`` squares are where all do worst, half where they differ most; one of each image.

    Only images whose source still exists and that every shown configuration saved are considered.
    """
    shown = shown_configurations(comparison)
    if not shown or count < 1:
        return PatchSelection()
    saved = [_saved_images(each) for each in shown]
    notes, ranked = [], []
    for name in saved[0]:
        if all(name in images for images in saved):
            try:
                ranked.append(_squares(name, _load([images[name] for images in saved])))
            except (ValueError, OSError) as error:
                notes.append(f"{name} is not among the patches: {error}")
    differing = count // 2 if len(shown) > 1 else 0
    worst = sorted((each[0] for each in ranked), reverse=True)[: count - differing]
    spread = sorted((each[1] for each in ranked), reverse=True)[:differing]
    reasons = {square: "worst of all" for _, square in worst}
    reasons |= {square: "largest difference" for _, square in spread if square not in reasons}
    patches = [
        _patch(square, reason, shown, _load([images[square.image] for images in saved]))
        for square, reason in reasons.items()
    ]
    return PatchSelection(tuple(patches), tuple(notes))


def shown_configurations(comparison: Comparison) -> list[Configuration]:
    """Best, baseline, worst, then the next best, of those that saved restorations; in table order."""
    saved = [each for each in comparison.finished if _saved_images(each)]

    def quality(configuration: Configuration) -> float:
        score = mean_psnr(configuration, comparison.sets)
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


def _squares(name: str, images: Tensor) -> list[tuple[float, _Square]]:
    """Where the mean error over the configurations is largest, and where their PSNRs differ most, in dB.

    Squares lie on a grid from the top left corner; what it leaves at the other borders is in none.
    """
    side = min(_SIDE, *images.shape[2:])
    errors = F.avg_pool2d(_squared_errors(images), side, _STRIDE)
    psnr = _psnr(errors)
    spread = (psnr.amax(0) - psnr.amin(0)).nan_to_num(posinf=0.0)  # where one is exact, PSNR says nothing
    found = []
    for scores in (errors.mean(0), spread):
        row, column = divmod(int(scores.argmax()), scores.shape[1])
        found.append((float(scores.max()), _Square(name, row * _STRIDE, column * _STRIDE, side)))
    return found


def _squared_errors(images: Tensor) -> Tensor:
    """(N - 1, H, W) float64: of the luma, of all images but the first, from the first."""
    luma = luma_double(images)[:, 0]
    return (luma[1:] - luma[:1]) ** 2


def _psnr(error: Tensor) -> Tensor:
    return 10 * torch.log10(_PEAK**2 / error)


def _patch(square: _Square, reason: str, shown: Sequence[Configuration], images: Tensor) -> Patch:
    titles: list[tuple[str, int | None]] = [(f"{each.number}: {each.label}", each.number) for each in shown]
    scale = _bicubic_scale(shown)
    if scale is not None:
        # like MATLAB, through 8 bits
        height, width = images.shape[2:]
        lr_image = imresize(images[:1], size=(height // scale, width // scale), mode="uint8")
        bicubic = imresize(lr_image, size=(height, width), mode="uint8")
        images = torch.cat([images[:1], bicubic, images[1:]])
        titles.insert(0, ("bicubic", None))
    rows, columns = (slice(start, start + square.side) for start in (square.top, square.left))
    images = images[:, :, rows, columns]
    reference, *pictures = map(_data_uri, images)
    panels = [
        Panel(title, number, float(_psnr(error.mean())), picture)
        for (title, number), error, picture in zip(titles, _squared_errors(images), pictures, strict=True)
    ]
    panels.append(Panel("HR", None, None, reference))
    return Patch(square.image, reason, square.top, square.left, square.side, tuple(panels))


def _bicubic_scale(shown: Sequence[Configuration]) -> int | None:
    """Scale of the runs if their low-resolution images are bicubic, else None."""
    configs = [each.finished[0].config for each in shown]
    degradations = {str(config.get("degradation._target_")).rpartition(".")[-1] for config in configs}
    return configs[0].get("scale") if degradations == {"BicubicDegradation"} else None


def _data_uri(image: Tensor) -> str:
    stream = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
