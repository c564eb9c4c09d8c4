"""Descriptions of networks that earlier versions wrote."""

from collections.abc import Mapping
from typing import Any

#: Constructor arguments of version 0.1.0 and their names today.
RENAMED_ARGUMENTS = {"window_side": "window_size"}


def migrate(model: Mapping[str, Any]) -> dict[str, Any]:
    """``_target_`` and constructor arguments, with today's names."""
    return {RENAMED_ARGUMENTS.get(name, name): value for name, value in model.items()}
