"""The demo's photographs as a data module, small."""

from pathlib import Path
from typing import Any

from srlab.data import datasets
from srlab.data.datamodule import SuperResolutionData
from srlab.data.degradation import BicubicDegradation


def demo(cache: Path, **changes: Any) -> SuperResolutionData:
    loading = {
        "scale": 4,
        "patch_size": 8,
        "batch_size": 8,
        "num_workers": 0,
        "seed": 0,
        "degradation": BicubicDegradation(),
        "degrade_on": "worker",
        "augment": True,
        "on_bad_image": "error",
        "cache": str(cache),
    }
    return datasets.demo(**(loading | changes))
