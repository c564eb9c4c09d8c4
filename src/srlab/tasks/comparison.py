"""The picture of a finished run: LR, bicubic, SR and HR side by side, enlarged where bicubic is worst."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from srlab.metrics.scoring import to_levels

_PANEL = 256  # pixels of each square panel
_MARGIN = 8
_LABEL = 20  # pixels of the line of text above a panel


@dataclass(frozen=True)
class Example:
    """One image and its restorations, float RGB in [0, 1].

    Attributes:
        name: label of the row.
        lr_image: (3, H, W).
        hr_image: (3, sH, sW), like each restoration.
        restorations: (title, image) in the order in which they are shown, bicubic first.
    """

    name: str
    lr_image: Tensor
    hr_image: Tensor
    restorations: Sequence[tuple[str, Tensor]]


def comparison_picture(examples: Sequence[Example], *, crop: int = 64) -> Image.Image:
    """A row for each example: the image, then LR, every restoration and HR where bicubic is worst.

    Args:
        examples: at least one; each with at least one restoration.
        crop: side of the enlarged square in HR pixels, at most the image's.
    """
    rows = [_row(example, crop) for example in examples]
    height = sum(row.height for row in rows)
    picture = Image.new("RGB", (max(row.width for row in rows), height + _MARGIN), "white")
    top = _MARGIN
    for row in rows:
        picture.paste(row, (0, top))
        top += row.height
    return picture


def _row(example: Example, crop: int) -> Image.Image:
    height, width = example.hr_image.shape[-2:]
    scale = height // example.lr_image.shape[-2]
    # a whole number of LR pixels, so that every panel shows the same square
    side = max(scale, min(crop, height, width) // scale * scale)
    top, left = _worst_square(example.restorations[0][1], example.hr_image, side, step=scale)
    square = (left, top, left + side, top + side)

    whole = to_picture(example.hr_image)
    ImageDraw.Draw(whole).rectangle(square, outline="red", width=max(2, max(whole.size) // 200))
    whole.thumbnail((2 * _PANEL, _PANEL), Image.Resampling.LANCZOS)
    lr_square = (left // scale, top // scale, (left + side) // scale, (top + side) // scale)
    enlarged = [
        ("LR", to_picture(example.lr_image).crop(lr_square)),
        *((title, to_picture(image).crop(square)) for title, image in example.restorations),
        ("HR", to_picture(example.hr_image).crop(square)),
    ]
    panels = [(example.name, whole)]
    panels += [(title, image.resize((_PANEL, _PANEL), Image.Resampling.NEAREST)) for title, image in enlarged]
    return _side_by_side(panels)


def _worst_square(restored: Tensor, hr_image: Tensor, side: int, *, step: int) -> tuple[int, int]:
    """Top left corner, a multiple of ``step``, of the square with the largest mean squared error."""
    error = (restored - hr_image).square().mean(0)[None, None]
    pooled = F.avg_pool2d(error, side, stride=step)[0, 0]
    index = int(torch.argmax(pooled))
    return index // pooled.shape[1] * step, index % pooled.shape[1] * step


def _side_by_side(panels: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    width = sum(image.width + _MARGIN for _, image in panels) + _MARGIN
    row = Image.new("RGB", (width, _PANEL + _LABEL + _MARGIN), "white")
    draw, font = ImageDraw.Draw(row), ImageFont.load_default(size=14)
    left = _MARGIN
    for title, image in panels:
        draw.text((left, 0), title, fill="black", font=font)
        row.paste(image, (left, _LABEL))
        left += image.width + _MARGIN
    return row


def to_picture(image: Tensor) -> Image.Image:
    """(3, H, W) in [0, 1], clamped, to 8 bits."""
    levels = to_levels(image.detach(), quantize=True)
    return Image.fromarray(levels.to(torch.uint8).permute(1, 2, 0).cpu().numpy())
