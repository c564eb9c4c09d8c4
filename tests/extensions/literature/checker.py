"""What a file of published figures must satisfy before it is shipped; file and row of a slip are named."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from srlab.extensions.literature.records import (
    DATASETS,
    READINGS,
    TRAINING_DATA,
    Card,
    LatencyConditions,
    Row,
    Source,
    Weights,
)

# What no table of 8-bit photographs holds: outside, a figure was mistyped.
PSNR_RANGE, SSIM_RANGE, COST_RANGE = (15.0, 60.0), (0.3, 1.0), (0, float("inf"))
TEXT = {str, str | None}


class StrictLoader(yaml.SafeLoader):
    """A repeated key is an error; yaml would take the last one."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = sorted({str(key) for key in keys if keys.count(key) > 1})
        require(not repeated, f"{', '.join(repeated)} is repeated in {keys}")
        return super().construct_mapping(node, deep)


def check_source(path: Path) -> None:
    """Raises ValueError for an unknown, missing or repeated key, or an impossible value."""
    try:
        content = mapping("the file", yaml.load(path.read_text(encoding="utf-8"), StrictLoader))
        shared = {key: content.pop(key) for key in ("training", "caution") if key in content}
        rows = content.get("rows")
        require(isinstance(rows, list) and rows, "rows must be a list of at least one row")
        for number, row in enumerate(rows, 1):
            try:
                check_row({**shared, **mapping("a row", row)})
            except ValueError as error:  # noqa: PERF203
                raise ValueError(f"row {number} ({row}): {error}") from error
        keys = [
            (
                row["network"],
                row["scale"],
                row.get("training", shared.get("training")),
                row.get("self_ensemble"),
            )
            for row in rows
        ]
        for network, scale, training, _ in [key for key in keys if keys.count(key) > 1]:
            raise ValueError(f"two rows of {network} x{scale} on {training}; join them")
        one_of("read", content.get("read"), READINGS)
        one_of("color", content.get("color", "y"), ("y", "rgb"))
        if "latency" in content:
            conditions = mapping("latency", content["latency"])
            sizes = ("output_size" in conditions) + ("images" in conditions)
            require(sizes == 1, "latency needs either output_size: [height, width] or images: which ones")
            check_keys(LatencyConditions, conditions)
        else:
            require(not any("latency_ms" in row for row in rows), "latencies need their device: add latency")
        check_keys(Source, {**content, "name": path.stem})
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error}") from error


def check_card(path: Path) -> None:
    """Raises ValueError for the same faults."""
    try:
        content = mapping("the file", yaml.load(path.read_text(encoding="utf-8"), StrictLoader))
        if "weights" in content:
            weights = mapping("weights", content["weights"])
            check_keys(Weights, weights)
            released = weights["released"]
            require(released in (True, False, None), f"must be true, false or null, got {released!r}")
        presets = mapping("presets", content.get("presets"))
        require(presets, "presets must name at least one preset and what it is")
        for name, phrase in presets.items():
            text(name, phrase)
        check_keys(Card, {**content, "name": path.stem})
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error}") from error


def check_row(row: dict[str, Any]) -> None:
    scores = {name: row.pop(name) for name in DATASETS if name in row}
    for name, figures in scores.items():
        pair = figures if isinstance(figures, list) else [figures, None]
        require(len(pair) == 2, f"{name} must be [PSNR, SSIM] or a PSNR, got {figures!r}")
        number(f"PSNR on {name}", pair[0], PSNR_RANGE)
        if pair[1] is not None:
            number(f"SSIM on {name}", pair[1], SSIM_RANGE)
    one_of("training", row.get("training"), TRAINING_DATA)
    scale, ensemble = row.get("scale"), row.get("self_ensemble", False)
    require(type(scale) is int and 2 <= scale <= 8, f"scale must be an integer from 2 to 8, got {scale!r}")
    require(isinstance(ensemble, bool), f"self_ensemble must be true or false, got {ensemble!r}")
    costs = [name for name in ("params_k", "multiply_adds_g", "memory_mb") if name in row]
    for name in costs:
        number(name, row[name], COST_RANGE)
    if "latency_ms" in row:
        ends = row["latency_ms"] if isinstance(row["latency_ms"], list) else [row["latency_ms"]] * 2
        for end in ends:
            number("latency_ms", end, COST_RANGE)
        ordered = len(ends) == 2 and ends[0] <= ends[1]
        require(ordered, f"latency_ms must be a number or [lowest, highest], got {row['latency_ms']!r}")
    figures = [*scores, *costs, *(["latency_ms"] if "latency_ms" in row else [])]
    require(figures, f"no figure in it; known columns are {', '.join(DATASETS)} and costs")
    check_keys(Row, {**row, "scores": scores})


def check_keys(kind: type[Any], content: Mapping[str, Any]) -> None:
    """Every key is known, none is missing, and texts are texts."""
    known = {field.name: field for field in fields(kind)}
    required = {name for name, field in known.items() if field.default is MISSING}
    unknown, missing = sorted(content.keys() - known.keys()), sorted(required - content.keys())
    require(
        not unknown and not missing,
        f"{kind.__name__} has no {', '.join(unknown) or 'other'} key; "
        f"missing: {', '.join(missing) or 'none'}; it takes {', '.join(known)}",
    )
    for name, hint in get_type_hints(kind).items():
        if hint in TEXT and name in content:
            text(name, content[name])


def require(condition: object, message: str) -> None:
    if not condition:
        raise ValueError(message)


def mapping(what: str, value: Any) -> dict[str, Any]:
    require(isinstance(value, dict), f"{what} must be a mapping of names to values, got {value!r}")
    return dict(value)


def one_of(what: str, value: Any, allowed: tuple[str, ...]) -> None:
    require(value in allowed, f"{what} must be one of {', '.join(allowed)}, got {value!r}")


def number(what: str, value: Any, allowed: tuple[float, float]) -> None:
    lowest, highest = allowed
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    require(
        is_number and lowest < value <= highest,
        f"{what} must be a number above {lowest} and up to {highest}, got {value!r}",
    )


def text(name: str, value: Any) -> None:
    require(isinstance(value, str) and value.strip(), f"{name} must be text, got {value!r}")
