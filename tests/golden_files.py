"""Recorded outputs of official implementations: the selection in tests/golden and those in SRLAB_GOLDEN."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

COMMITTED = Path(__file__).parent / "golden"
FURTHER = Path(os.environ["SRLAB_GOLDEN"]) if os.environ.get("SRLAB_GOLDEN") else None


@dataclass(frozen=True)
class Golden:
    """One fixture: its description (JSON) and its arrays, prefixes such as ``w/`` intact."""

    about: dict
    arrays: dict[str, Tensor]

    def weights(self, prefix: str = "w/") -> dict[str, Tensor]:
        """Arrays below ``prefix`` under their state-dict keys."""
        return {key[len(prefix) :]: value for key, value in self.arrays.items() if key.startswith(prefix)}


def golden_files(pattern: str, *, beyond_selection: bool = False) -> list[str]:
    """Relative paths of all fixtures that match, for parametrisation: never silently none.

    Args:
        pattern: glob below the folders of fixtures.
        beyond_selection: the committed selection has no such fixtures; only without SRLAB_GOLDEN the list may
            be empty.
    """
    found = {str(path.relative_to(root)) for root in _roots() for path in root.glob(pattern)}
    if not found and not (beyond_selection and FURTHER is None):
        raise FileNotFoundError(f"no fixture matches {pattern} in {' or '.join(map(str, _roots()))}")
    return sorted(found)


def load_golden(name: str) -> Golden:
    """Read ``name`` (relative, ``.npz`` or ``.json``) and what stands beside it."""
    folder = next((root for root in _roots() if (root / name).with_suffix(".json").exists()), COMMITTED)
    path = folder / name
    arrays = {}
    if path.with_suffix(".npz").exists():
        with np.load(path.with_suffix(".npz")) as archive:
            arrays = {key: torch.from_numpy(archive[key].copy()) for key in archive.files}
    return Golden(json.loads(path.with_suffix(".json").read_text()), arrays)


def _roots() -> list[Path]:
    if FURTHER is None:
        return [COMMITTED]
    if not (FURTHER / "keys").is_dir():
        raise FileNotFoundError(
            f"SRLAB_GOLDEN={FURTHER} is not a complete folder of recorded outputs: correct it, or unset it"
        )
    return [FURTHER, COMMITTED]
