"""Reads the literature's YAML files; the tests check every file that the package carries."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from srlab.extensions.literature.schema import DATASETS, Card, LatencyConditions, Row, Score, Source, Weights


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
    return sorted(Path(str(files("srlab.extensions.literature"))).joinpath(folder).glob("*.yaml"))


def read_source(path: Path) -> Source:
    """One table."""
    content = _load(path)
    # what every row of the file shares unless it says otherwise
    shared = {key: content.pop(key) for key in ("training", "caution") if key in content}
    rows = tuple(_row({**shared, **row}) for row in content.pop("rows"))
    latency = content.pop("latency", None)
    conditions = None if latency is None else LatencyConditions(**_lists_as_tuples(latency))
    return Source(**_lists_as_tuples(content), name=path.stem, rows=rows, latency=conditions)


def read_card(path: Path) -> Card:
    """One network's card."""
    content = _load(path)
    weights = content.pop("weights", None)
    return Card(
        **_lists_as_tuples(content), name=path.stem, weights=None if weights is None else Weights(**weights)
    )


def _load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _row(content: dict[str, Any]) -> Row:
    """Test sets have ``[PSNR, SSIM]`` or a PSNR; ``latency_ms`` is ``[lowest, highest]`` or one figure."""
    scores = {}
    for name in DATASETS.keys() & content.keys():
        figures = content.pop(name)
        scores[name] = Score(*figures) if isinstance(figures, list) else Score(figures, None)
    latency = content.pop("latency_ms", None)
    if latency is not None and not isinstance(latency, list):
        latency = [latency, latency]
    ordered = {name: scores[name] for name in DATASETS if name in scores}
    return Row(**content, scores=ordered, latency_ms=None if latency is None else (latency[0], latency[1]))


def _lists_as_tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
