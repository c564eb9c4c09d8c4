"""The demo's photographs as a data module, small."""

from pathlib import Path
from typing import Any

from srlab.data import datasets
from srlab.data.datamodule import SuperResolutionData
from srlab.data.degradation import BicubicDegradation


def loading(cache: Path, **changes: Any) -> dict[str, Any]:
    """What all data have in common."""
    small = {"scale": 4, "patch_size": 8, "batch_size": 8, "num_workers": 0, "seed": 0, "augment": True}
    small |= {"degradation": BicubicDegradation(), "degrade_on": "worker", "on_bad_image": "error"}
    return small | {"cache": str(cache)} | changes


def demo(cache: Path, **changes: Any) -> SuperResolutionData:
    return datasets.demo(**loading(cache, **changes))
