"""Reading the literature's files; what cannot be is refused with the file and the row."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import MISSING, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from srlab.extensions.literature.schema import (
    DATASETS,
    READINGS,
    TRAINING_DATA,
    Card,
    LatencyConditions,
    Row,
    Score,
    Source,
    Weights,
)

__all__ = ["cards", "read_card", "read_source", "sources"]

# What no table of 8-bit photographs holds: outside, a figure was mistyped.
_PSNR_RANGE = (15.0, 60.0)
_SSIM_RANGE = (0.3, 1.0)
_SCALES = range(2, 9)


@cache
def sources() -> tuple[Source, ...]:
    """Every file of ``tables/``, in the order of their names."""
    return tuple(read_source(path) for path in _packaged("tables"))


@cache
def cards() -> tuple[Card, ...]:
    """Every file of ``networks/``, in the order of their names."""
    return tuple(read_card(path) for path in _packaged("networks"))


def read_source(path: Path) -> Source:
    """One table.

    Raises:
        ValueError: an unknown, missing or repeated key, or an impossible value; file and row are named.
    """
    try:
        content = _load(path)
        # what every row of the file shares unless it says otherwise
        shared = {key: content.pop(key) for key in ("training", "caution") if key in content}
        rows = _rows(content.pop("rows", None), shared)
        _refuse_repeated(rows)
        if content.get("read") not in READINGS:
            raise ValueError(f"read must be one of {', '.join(READINGS)}, got {content.get('read')!r}")
        if content.get("color", "y") not in ("y", "rgb"):
            raise ValueError(f"color must be y or rgb, got {content['color']!r}")
        if "latency" in content:
            content["latency"] = _latency_conditions(content["latency"])
        elif any(row.latency_ms for row in rows):
            raise ValueError("latencies need their device: add latency: {device: …, output_size: […]}")
        _check_texts(content, "title", "where", "counting")
        return _build(Source, {**_lists_as_tuples(content), "name": path.stem, "rows": rows})
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error}") from error


def read_card(path: Path) -> Card:
    """One network's card.

    Raises:
        ValueError: an unknown, missing or repeated key; the file is named.
    """
    try:
        content = _load(path)
        if "weights" in content:
            content["weights"] = _weights(_mapping("weights", content["weights"]))
        presets = _mapping("presets", content.get("presets"))
        if not presets:
            raise ValueError("presets must name at least one preset and what it is")
        _check_texts(content, "title", "authors", "venue", "arxiv", "code", "licence")
        _check_texts(presets, *presets)
        return _build(Card, {**_lists_as_tuples(content), "name": path.stem, "presets": presets})
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error}") from error


def _weights(content: dict[str, Any]) -> Weights:
    _check_texts(content, "where")
    weights = _build(Weights, content)
    if weights.released not in (True, False, None):
        raise ValueError(f"weights.released must be true, false or null, got {weights.released!r}")
    return weights


def _packaged(folder: str) -> list[Path]:
    return sorted(Path(str(files("srlab.extensions.literature"))).joinpath(folder).glob("*.yaml"))


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader, but a key that stands twice is an error, not a silent choice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = sorted({str(key) for key in keys if keys.count(key) > 1})
        if repeated:
            raise ValueError(f"{', '.join(repeated)} stands twice in {keys}")
        return super().construct_mapping(node, deep)


def _load(path: Path) -> dict[str, Any]:
    # a SafeLoader: plain data only
    return dict(_mapping("the file", yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)))


def _rows(content: Any, shared: Mapping[str, Any]) -> tuple[Row, ...]:
    if not isinstance(content, list) or not content:
        raise ValueError("rows must be a list of at least one row")
    return tuple(_named_row(number, row, shared) for number, row in enumerate(content, 1))


def _named_row(number: int, content: Any, shared: Mapping[str, Any]) -> Row:
    try:
        return _row({**shared, **_mapping("a row", content)})
    except ValueError as error:
        raise ValueError(f"row {number} ({content}): {error}") from error


def _row(content: dict[str, Any]) -> Row:
    scores = {name: _score(name, content.pop(name)) for name in DATASETS if name in content}
    if content.get("training") not in TRAINING_DATA:
        raise ValueError(
            f"training must be one of {', '.join(TRAINING_DATA)}, got {content.get('training')!r}"
        )
    if content.get("scale") not in _SCALES:
        raise ValueError(f"scale must be an integer from 2 to 8, got {content.get('scale')!r}")
    if not isinstance(content.get("self_ensemble", False), bool):
        raise ValueError(f"self_ensemble must be true or false, got {content['self_ensemble']!r}")
    _check_texts(content, "network", "caution")
    costs = [name for name in ("params_k", "multiply_adds_g", "memory_mb") if name in content]
    for name in costs:
        content[name] = _number(name, content[name], (0, float("inf")))
    if "latency_ms" in content:
        content["latency_ms"] = _latency(content["latency_ms"])
    elif not scores and not costs:
        raise ValueError(f"no figure in it; known columns are {', '.join(DATASETS)} and costs")
    return _build(Row, {**content, "scores": scores})


def _score(dataset: str, value: Any) -> Score:
    pair = value if isinstance(value, list) else [value, None]
    if len(pair) != 2:
        raise ValueError(f"{dataset} must be [PSNR, SSIM] or a PSNR, got {value!r}")
    psnr, ssim = pair
    return Score(
        _number(f"PSNR on {dataset}", psnr, _PSNR_RANGE),
        None if ssim is None else _number(f"SSIM on {dataset}", ssim, _SSIM_RANGE),
    )


def _latency(value: Any) -> tuple[float, float]:
    ends = value if isinstance(value, list) else [value, value]
    low, high = (_number("latency_ms", end, (0, float("inf"))) for end in (ends[0], ends[-1]))
    if len(ends) != 2 or low > high:
        raise ValueError(f"latency_ms must be a number or [lowest, highest], got {value!r}")
    return low, high


def _latency_conditions(value: Any) -> LatencyConditions:
    content = _mapping("latency", value)
    if ("output_size" in content) == ("images" in content):
        raise ValueError("latency needs either output_size: [height, width] or images: which ones")
    return _build(LatencyConditions, _lists_as_tuples(content))


def _refuse_repeated(rows: Sequence[Row]) -> None:
    keys = [(row.network, row.scale, row.training, row.self_ensemble) for row in rows]
    repeated = [key for key in keys if keys.count(key) > 1]
    if repeated:
        raise ValueError(f"two rows of {repeated[0][0]} x{repeated[0][1]} on {repeated[0][2]}; join them")


def _build(kind: type[Any], content: Mapping[str, Any]) -> Any:
    known = {field.name: field for field in fields(kind)}
    required = {name for name, field in known.items() if field.default is MISSING}
    unknown, missing = content.keys() - known.keys(), required - content.keys()
    if unknown or missing:
        raise ValueError(
            f"{kind.__name__} has no {', '.join(sorted(unknown)) or 'other'} key"
            f"; missing: {', '.join(sorted(missing)) or 'none'}; it takes {', '.join(known)}"
        )
    return kind(**content)


def _mapping(what: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a mapping of names to values, got {value!r}")
    return value


def _number(what: str, value: Any, allowed: tuple[float, float]) -> float:
    lowest, highest = allowed
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not lowest < value <= highest:
        raise ValueError(f"{what} must be a number above {lowest} and up to {highest}, got {value!r}")
    return float(value)


def _check_texts(content: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if name in content and not (isinstance(content[name], str) and content[name].strip()):
            raise ValueError(f"{name} must be text, got {content[name]!r}")


def _lists_as_tuples(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
