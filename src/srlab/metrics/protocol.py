"""Protocols: how a restored image is compared with its reference."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

from srlab.ops.input_padding import InputPadding


class ColorSpace(Enum):
    """What the metrics compare."""

    y = auto()
    """Luma of ITU-R BT.601, studio swing (black 16, white 235), as MATLAB's rgb2ycbcr."""
    rgb = auto()
    """All three channels: PSNR pools their squared errors, SSIM is the mean over channels."""


class Arithmetic(Enum):
    """Precision in which pixels become a score; PSNR itself is always in float64."""

    double = auto()
    """BasicSR's: luma rounded to float32 once on the way, everything else in float64."""
    single = auto()
    """ELAN's: luma and SSIM in float32."""
    eight_bit = auto()
    """Luma rounded to uint8, as MATLAB scripts that read and write 8-bit images do; then float64."""


class GrayRule(Enum):
    """How a restored RGB image is compared with a gray reference."""

    replicate = auto()
    """The reference counts as three equal channels and is scored like any other image, as by BasicSR's and
    ELAN's code, which read every file as colour: the rows of networks in published tables."""
    own = auto()
    """The gray values are their own luma, black 0 and white 255, as in MATLAB scripts: 20*log10(255/219) =
    1.32 dB lower under a luma. The bicubic rows of published tables."""


@dataclass
class ProtocolConfig:
    """How a restored image is scored; its name is recorded with every score."""

    name: str
    color: ColorSpace
    quantize: bool
    """Round the restored image to 8 bits first, as saving it would."""
    border: float
    """High-resolution pixels left out on each side, rounded up."""
    arithmetic: Arithmetic
    gray: GrayRule
    padding: InputPadding = InputPadding.model
    bicubic_only: bool = False
    """Scores bicubic interpolation of the luma itself, computed from the HR image; needs no network."""

    def __post_init__(self) -> None:
        if not isinstance(self.border, str) and self.border == int(self.border):
            self.border = int(self.border)  # as records have it


def border_pixels(protocol: ProtocolConfig) -> int:
    """Whole pixels of the border.

    Raises:
        ValueError: it is negative.
    """
    if protocol.border < 0:
        raise ValueError(f"protocol {protocol.name!r}: border must be 0 or more, got {protocol.border}")
    return math.ceil(protocol.border)


def at_scale(protocol: ProtocolConfig, scale: float, *, own_scale: float) -> ProtocolConfig:
    """The protocol for images of another scale: a border of ``own_scale`` pixels becomes one of ``scale``."""
    return replace(protocol, border=scale) if protocol.border == own_scale else protocol


def protocol_label(protocol: ProtocolConfig) -> str:
    """Name for tables, with the input padding and the gray rule where they are not the usual ones."""
    padding = "" if protocol.padding is InputPadding.model else f"+{protocol.padding.name}"
    gray = "" if protocol.gray is papers_gray_rule(protocol) else f"+gray_{protocol.gray.name}"
    return f"{protocol.name}{padding}{gray}"


def papers_gray_rule(protocol: ProtocolConfig) -> GrayRule:
    """How the published tables that a protocol reproduces treat a gray reference.

    Rows of networks replicate: Set14 of the published HiT-SRF x4 is 28.873 dB so and 28.779 dB with the gray
    values as luma, and the paper prints 28.87. Bicubic rows, made with MATLAB, keep the gray values.
    """
    return GrayRule.own if protocol.bicubic_only else GrayRule.replicate


def earlier_gray_rule(color: str | None) -> GrayRule:
    """The rule of records from before protocols named one: own luma, except under RGB.

    Args:
        color: name of a :class:`ColorSpace`; None if the record lacks it, too.
    """
    return GrayRule.replicate if color == ColorSpace.rgb.name else GrayRule.own


def recorded_gray_rule(means: Sequence[Mapping[str, Any]], protocol: Mapping[str, Any]) -> str | None:
    """Name of the rule behind the scores of a ``summary.json``; None if none of its images is gray.

    Args:
        means: of the sets; records without ``gray_images`` may have had some.
        protocol: its settings; those without ``gray`` are from before it could be chosen.
    """
    if means and all(mean.get("gray_images") == [] for mean in means):
        return None
    return protocol.get("gray") or earlier_gray_rule(protocol.get("color")).name
