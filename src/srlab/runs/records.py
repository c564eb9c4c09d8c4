"""JSON records of a run: written, and read in today's layout and in that of srlab 0.1.0."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from srlab.atomic_files import atomic_write


def plain(value: Any) -> Any:
    """Data as JSON can hold it: enum members by name, paths and non-finite numbers as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Path) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    return value


def write_json(path: Path, content: Any) -> None:
    """Write ``content``, made :func:`plain`; the file appears complete or not at all."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(plain(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_scores(record: Mapping[str, Any]) -> dict[str, float]:
    """{metric: value} of every metric that ``summary.json`` or ``evaluation.json`` records.

    Args:
        record: of a set's mean or an image, ``{"scores": {"psnr": 32.1, …}, …}``; of srlab 0.1.0, which knew
            two metrics, ``{"psnr": 32.1, "ssim": …, …}``.
    """
    earlier = {name: record.get(name) for name in ("psnr", "ssim")}
    scores = record.get("scores") or earlier
    return {name: float(value) for name, value in scores.items() if value is not None}
