"""What a run is computed with, and what has changed since another one."""

import logging
from pathlib import Path

import lightning
import torch

import srlab
from srlab.checkpoints.files import OUR_ENTRY, read_file
from srlab.ops.subnormals import subnormal_mode
from srlab.runs.provenance import source_commit

__all__ = ["versions", "warn_of_other_versions"]

log = logging.getLogger(__name__)


def versions() -> dict[str, str | None]:
    """Of srlab and what it computes with; every checkpoint carries them."""
    return {
        "srlab": srlab.__version__,
        "torch": str(torch.__version__),
        "lightning": lightning.__version__,
        "commit": source_commit(),
        "subnormals": subnormal_mode(),
    }


def warn_of_other_versions(folder: Path) -> None:
    """Say in what this program differs from the one that trained the run in ``folder``."""
    checkpoint = folder / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file():
        log.warning("%s has no checkpoint to tell what it was computed with", folder)
        return
    try:
        recorded = read_file(checkpoint, known="runs are made by train.py")[OUR_ENTRY]["versions"]
    except (ValueError, KeyError) as error:  # its configuration is enough
        log.warning("rerun: %s does not tell what it was computed with: %s", checkpoint, error)
        return
    for name, now in versions().items():
        if recorded.get(name) != now:
            log.warning("rerun: %s was %s and is %s now: weights may differ", name, recorded.get(name), now)
