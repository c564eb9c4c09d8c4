"""Names of trained networks, resolved by functions that extensions register."""

import os
from collections.abc import Callable
from pathlib import Path

from srlab.extension_points import Registry

#: Functions that take a name which is not a path, and return its checkpoint file or folder, or None for names
#: they do not have. They raise a ``ValueError`` or ``OSError`` with the remedy if the file is not available.
MODEL_SOURCES: Registry[Callable[[str], Path | None]] = Registry("source of networks")


def find_by_name(name: str) -> Path | None:
    """The file or folder from the first source that has ``name``; None if there is none."""
    return next((path for source in MODEL_SOURCES if (path := source(name)) is not None), None)


def is_offline() -> bool:
    """Whether SRLAB_OFFLINE forbids to ask any server."""
    return os.environ.get("SRLAB_OFFLINE", "").lower() not in ("", "0", "false", "no")
