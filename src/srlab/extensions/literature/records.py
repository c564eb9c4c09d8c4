"""The literature as typed data. Every field of the YAML files is described here.

A file of ``tables/`` is a :class:`Source`, its rows are :class:`Row`; a file of ``networks/`` is a
:class:`Card`. In a row, the name of a test set (Set5, Set14, B100, Urban100, Manga109, DIV2K) is a key
whose value is ``[PSNR, SSIM]`` or the PSNR alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

#: Test sets that tables have columns for, and their numbers of images (of DIV2K, 801 to 900).
DATASETS = {"Set5": 5, "Set14": 14, "B100": 100, "Urban100": 100, "Manga109": 109, "DIV2K": 100}
#: Training data that rows may name; ``none`` is for interpolation, ``unstated`` if the source does not say.
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
    """What a source's latencies and memory are of: one restored image (height, width), or given images."""

    device: str
    output_size: tuple[int, int] | None = None
    images: str | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network at one scale in one source.

    Attributes:
        network: our preset's name if there is one, else the literature's.
        training: one of :data:`TRAINING_DATA`.
        self_ensemble: mean over the eight flips and turns, never compared with a single pass.
        caution: why nothing should be compared with this row: a slip, another protocol, measured by others.
        multiply_adds_g: ``Source.counting`` says of what.
        latency_ms: lowest and highest printed; equal if there is one figure.
    """

    network: str
    scale: int
    training: str
    self_ensemble: bool = False
    caution: str | None = None
    scores: Mapping[str, Score]
    params_k: float | None = None
    multiply_adds_g: float | None = None
    latency_ms: tuple[float, float] | None = None
    memory_mb: float | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """One table, and how it came to us; ``name`` is the file's stem.

    Attributes:
        own: networks whose authors made this table.
        color: what PSNR and SSIM compare; the border is always as wide as the scale.
        counting: what the columns of parameters and multiply-adds count.
    """

    name: str
    title: str
    where: str
    read: Literal["text", "image", "quoted", "scored"]
    own: tuple[str, ...] = ()
    color: Literal["y", "rgb"] = "y"
    latency: LatencyConditions | None = None
    counting: str | None = None
    notes: tuple[str, ...] = ()
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Whether the authors released trained weights (None: unknown), and where."""

    released: bool | None
    where: str


@dataclass(frozen=True, kw_only=True)
class Card:
    """One paper's network, or one construction of ours, and the presets that build it.

    Attributes:
        name: the file's stem.
        licence: of the authors' code.
        weights: None if there can be none: our own constructions, interpolation.
        presets: the phrase that tables of networks print about each.
    """

    name: str
    title: str
    authors: str | None = None
    venue: str | None = None
    arxiv: str | None = None
    code: str | None = None
    licence: str | None = None
    weights: Weights | None = None
    notes: tuple[str, ...] = ()
    presets: Mapping[str, str]


@cache
def sources() -> tuple[Source, ...]:
    """Every file of ``tables/``, in the order of their names."""
    return tuple(map(read_source, packaged("tables")))


@cache
def cards() -> tuple[Card, ...]:
    """Every file of ``networks/``, in the order of their names."""
    return tuple(map(read_card, packaged("networks")))


def packaged(folder: str) -> list[Path]:
    """The YAML files of ``tables`` or ``networks``."""
    return sorted((Path(__file__).parent / folder).glob("*.yaml"))


def read_source(path: Path) -> Source:
    """One table."""
    content = _load(path)
    # what every row of the file shares unless it says otherwise
    shared = {key: content.pop(key) for key in ("training", "caution") if key in content}
    rows = tuple(_row({**shared, **row}) for row in content.pop("rows"))
    latency = content.pop("latency", None)
    conditions = latency and LatencyConditions(**_lists_as_tuples(latency))
    return Source(**_lists_as_tuples(content), name=path.stem, rows=rows, latency=conditions)


def read_card(path: Path) -> Card:
    """One network's card."""
    content = _load(path)
    weights = content.pop("weights", None)
    return Card(**_lists_as_tuples(content), name=path.stem, weights=weights and Weights(**weights))


def _load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _row(content: dict[str, Any]) -> Row:
    """Test sets have ``[PSNR, SSIM]`` or a PSNR; ``latency_ms`` is ``[lowest, highest]`` or one figure."""
    scores = {}
    for name in DATASETS:
        if name in content:
            figures = content.pop(name)
            scores[name] = Score(*figures) if isinstance(figures, list) else Score(figures, None)
    latency = content.pop("latency_ms", None)
    lowest, highest = latency if isinstance(latency, list) else (latency, latency)
    return Row(**content, scores=scores, latency_ms=None if latency is None else (lowest, highest))


def _lists_as_tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
