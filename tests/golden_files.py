"""Recorded outputs of the official implementations: SRLAB_GOLDEN, or the selection in tests/golden."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

COMMITTED = Path(__file__).parent / "golden"
ROOT = Path(os.environ.get("SRLAB_GOLDEN") or COMMITTED)


@dataclass(frozen=True)
class Golden:
    """One fixture: its description (JSON) and its arrays, prefixes such as ``w/`` intact."""

    about: dict
    arrays: dict[str, Tensor]

    def weights(self, prefix: str = "w/") -> dict[str, Tensor]:
        """Arrays below ``prefix`` under their state-dict keys."""
        return {key[len(prefix) :]: value for key, value in self.arrays.items() if key.startswith(prefix)}


def golden_files(pattern: str, *, beyond_selection: bool = False) -> list[str]:
    """Paths relative to the root of all fixtures that match, for parametrisation: never silently none.

    Args:
        pattern: glob below the root.
        beyond_selection: the committed selection has no such fixtures; only there the list may be empty.
    """
    files = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(pattern))
    if not files and not (beyond_selection and ROOT == COMMITTED):
        origin = "the selection in tests/golden" if ROOT == COMMITTED else "SRLAB_GOLDEN"
        raise FileNotFoundError(
            f"no fixture matches {pattern} in {ROOT} ({origin}); "
            "SRLAB_GOLDEN must name a complete folder of recorded outputs, or be unset"
        )
    return files


def load_golden(name: str) -> Golden:
    """Read ``name`` (relative, ``.npz`` or ``.json``) and what stands beside it."""
    path = ROOT / name
    arrays = {}
    if path.with_suffix(".npz").exists():
        with np.load(path.with_suffix(".npz")) as archive:
            arrays = {key: torch.from_numpy(archive[key].copy()) for key in archive.files}
    return Golden(json.loads(path.with_suffix(".json").read_text()), arrays)
