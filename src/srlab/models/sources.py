"""Names that stand for a trained network: extensions register where they look."""

import os
from collections.abc import Callable
from pathlib import Path

from srlab.extension_points import Registry

#: Functions of a name that is no path: the checkpoint file or folder that it stands for, None if they do not
#: know it. They raise a ``ValueError`` or ``OSError`` with the remedy if they know it and it cannot be had.
MODEL_SOURCES: Registry[Callable[[str], Path | None]] = Registry("source of networks")


def find_by_name(name: str) -> Path | None:
    """What the first source that knows ``name`` answers; None if none does."""
    return next((path for source in MODEL_SOURCES if (path := source(name)) is not None), None)


def is_offline() -> bool:
    """Whether SRLAB_OFFLINE forbids to ask any server."""
    return os.environ.get("SRLAB_OFFLINE", "").lower() not in ("", "0", "false", "no")
