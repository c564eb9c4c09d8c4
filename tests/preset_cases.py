"""All presets as test cases: the cheapest of each network class, and all others in the slow run."""

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import srlab
from srlab.app.presets import preset_class

_RECORDED = Path(__file__).parent / "recorded"
# Above this many parameters a preset takes seconds for each image.
_LARGE = 2_000_000

_class_of = functools.cache(preset_class)


def recorded(name: str) -> dict[str, Any]:
    """Size and cost of a preset, not made by srlab: ``{"keys": …, "x2": {"parameters": …, …}, …}``.

    ``narrow`` has the arguments that :func:`narrowed` gives, ``thin`` those that leave full depth with few
    channels, and ``golden`` is the folder of recorded outputs.
    """
    path = _RECORDED / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"preset {name} has no recorded size and cost; write tests/recorded/{name}.json"
        )
    return json.loads(path.read_text())


def recorded_scales(name: str) -> list[int]:
    """The scales that a preset is recorded at, smallest first."""
    return sorted(int(key[1:]) for key in recorded(name) if re.fullmatch(r"x\d+", key))


def preset_cases() -> list[Any]:
    """(preset, its smallest scale) for parametrisation."""
    scales = {name: recorded_scales(name)[0] for name in srlab.list_models()}
    quick = {
        name
        for name in cheapest_of_each_class(scales).values()
        if recorded(name)[f"x{scales[name]}"]["parameters"] < _LARGE
    }
    return [
        pytest.param(name, scale, marks=[] if name in quick else [pytest.mark.slow], id=name)
        for name, scale in scales.items()
    ]


def narrowed(name: str) -> dict[str, Any]:
    """Arguments that make a preset narrow and shallow: the same parts, a hundredth of the time."""
    if "narrow" in recorded(name):
        return recorded(name)["narrow"]
    if name.startswith("elan"):
        return {"dim": 12, "depth": 4}
    if name.startswith("swinir"):
        return {"dim": 12, "depths": [2], "num_heads": [2]}
    if name.startswith("hit"):
        return {"dim": 32, "depths": [3], "num_heads": [2], "window_sizes": [4, 8, 16]}
    if name.startswith("esc"):
        query = {"query_dim": 16} if name == "esc_lte" else {}
        sizes = {"dim": 16, "mixed_dim": 8, "kernel_side": 5, "window_size": 8, "num_heads": 2}
        return {**sizes, "depth": 1, "steps_per_block": 2, **query}
    if name == "rcan":
        return {"dim": 16, "num_groups": 2, "depth": 2, "squeeze_factor": 4}
    return {} if name == "bicubic" else {"dim": 8, "depth": 2}


def cheapest_of_each_class(scales: Mapping[str, int]) -> dict[type, str]:
    """The preset with the fewest multiply-adds of each network class.

    Args:
        scales: the scale to look at by preset.
    """

    def cost(name: str) -> float:
        return recorded(name)[f"x{scales[name]}"].get("giga_multiply_adds") or 0.0

    return {_class_of(name): name for name in sorted(scales, key=cost, reverse=True)}
