"""All presets as test cases: what lies in conf/model is tested, the large ones by the slow run."""

import json
from pathlib import Path
from typing import Any

import pytest

import srlab

_RECORDED = Path(__file__).parent / "recorded"
# Above this many parameters a preset takes seconds for each image.
_LARGE = 2_000_000


def recorded(name: str) -> dict[str, Any]:
    """Size and cost of a preset, not made by srlab: ``{"keys": …, "x2": {"parameters": …, …}, …}``."""
    path = _RECORDED / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"preset {name} has no recorded size and cost; write tests/recorded/{name}.json"
        )
    return json.loads(path.read_text())


def recorded_scales(name: str) -> list[int]:
    """The scales that a preset is recorded at, smallest first."""
    return sorted(int(key[1:]) for key in recorded(name) if key != "keys")


def preset_cases() -> list[Any]:
    """(preset, its smallest scale) for parametrisation."""
    cases = []
    for name in srlab.list_models():
        scale = recorded_scales(name)[0]
        large = recorded(name)[f"x{scale}"]["parameters"] > _LARGE
        cases.append(pytest.param(name, scale, marks=[pytest.mark.slow] if large else [], id=name))
    return cases
