"""The literature as typed data. Every field of the YAML files is described here.

A file of ``tables/`` is a :class:`Source`, its rows are :class:`Row`; a file of ``networks/`` is a
:class:`Card`. In a row, the name of a test set (Set5, Set14, B100, Urban100, Manga109, DIV2K) is a key
whose value is ``[PSNR, SSIM]`` or the PSNR alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = [
    "DATASETS",
    "READINGS",
    "TRAINING_DATA",
    "Card",
    "LatencyConditions",
    "Row",
    "Score",
    "Source",
    "Weights",
]

#: Test sets that tables have columns for, and their numbers of images (of DIV2K, 801 to 900).
DATASETS = {"Set5": 5, "Set14": 14, "B100": 100, "Urban100": 100, "Manga109": 109, "DIV2K": 100}
#: Training data that rows may name; ``none`` is for interpolation, ``unstated`` for what we could not read.
TRAINING_DATA = ("DIV2K", "DF2K", "DFLIP", "none", "unstated")
#: How figures came into the file: copied as text, by eye from a picture, or at second hand. ``scored`` is no
#: reading: what the authors' weights score with this package, rounded as papers do, to confirm what was read.
READINGS = ("text", "image", "quoted", "scored")


class Score(NamedTuple):
    """As printed: dB, and SSIM where the source has it."""

    psnr: float
    ssim: float | None


@dataclass(frozen=True, kw_only=True)
class LatencyConditions:
    """What a source's latencies and memory are of: one enlarged image of a size, or given images."""

    device: str
    output_size: tuple[int, int] | None = None
    """Height and width."""
    images: str | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network at one scale in one source."""

    network: str
    """Our preset's name where we have one, else the literature's."""
    scale: int
    training: str
    """One of :data:`TRAINING_DATA`."""
    self_ensemble: bool = False
    """Mean over the eight flips and turns: never compared with a single pass."""
    caution: str | None = None
    """Why nothing should be compared with this row: a slip, another protocol, measured by others."""
    scores: Mapping[str, Score]
    params_k: float | None = None
    """Thousands of parameters."""
    multiply_adds_g: float | None = None
    """Giga multiply-adds; ``Source.counting`` says of what."""
    latency_ms: tuple[float, float] | None = None
    """Lowest and highest printed; equal where there is one figure."""
    memory_mb: float | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """One table, and how it came to us."""

    name: str
    """The file's stem."""
    title: str
    where: str
    read: Literal["text", "image", "quoted", "scored"]
    own: tuple[str, ...] = ()
    """Networks whose authors made this table."""
    color: Literal["y", "rgb"] = "y"
    """What PSNR and SSIM compare; the border is always as wide as the scale."""
    latency: LatencyConditions | None = None
    counting: str | None = None
    """What the columns of parameters and multiply-adds count."""
    notes: tuple[str, ...] = ()
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Whether the authors gave trained weights away."""

    released: bool | None
    """None (``null``) where we do not know."""
    where: str


@dataclass(frozen=True, kw_only=True)
class Card:
    """One paper's network, or one construction of ours, and the presets that build it."""

    name: str
    """The file's stem."""
    title: str
    authors: str | None = None
    venue: str | None = None
    arxiv: str | None = None
    code: str | None = None
    licence: str | None = None
    """Of the authors' code."""
    weights: Weights | None = None
    """None where there can be none: our own constructions, interpolation."""
    notes: tuple[str, ...] = ()
    presets: Mapping[str, str]
    """Preset to the phrase that tables of networks say about it."""
