"""Where the engine of sweeps (``python train.py -m``) attaches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from srlab.extension_points import Registry


@dataclass(frozen=True)
class Multirun:
    """What runs the cells of a sweep."""

    begin: Callable[[Any, str], None]
    """Gets the sweep's composed configuration and its name, before Hydra starts the cells."""
    run_cell: Callable[[Any], float | None]
    """Gets a cell's composed configuration; returns its validation score."""


#: An extension registers its engine as ``sweep``.
MULTIRUN: Registry[Multirun] = Registry("multirun engine")


def multirun() -> Multirun:
    """The registered engine; a ``ValueError`` without one."""
    engine = MULTIRUN.get("sweep")
    if engine is None:
        raise ValueError("-m runs a sweep, and srlab.extensions.sweep is not installed; start single runs")
    return engine
