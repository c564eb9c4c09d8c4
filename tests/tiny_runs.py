"""train.py as typed in full, for tests that look at what a run leaves: logs, tables, reports."""

import sys
from pathlib import Path

import pytest

import training_runs
from training_runs import ROOT, SMALL, TINY_ELAN

__all__ = ["ROOT", "TINY", "train", "write_photos"]

# With the default logger, W&B.
TINY = [
    *TINY_ELAN,
    *(word for word in SMALL if word != "logger=csv"),
    *("trainer.max_steps=4", "validate_every=2"),
]


def write_photos(root: Path) -> list[str]:
    """Overrides that name the pictures written to ``root``."""
    root.mkdir(parents=True, exist_ok=True)
    photos = training_runs.write_photos(root, training=4, validation=3)
    return [
        "data=folder",
        f"data.root={photos / 'train'}",
        f"data.validation_root={photos / 'validation'}",
        f"paths.cache={root / 'cache'}",
    ]


def train(*words: str) -> None:
    """Run train.py's main in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        patch.setattr(sys, "argv", ["train.py", *words])
        import train as script

        script.main()
