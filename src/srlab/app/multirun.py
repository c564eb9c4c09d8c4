"""The registry for the engine of sweeps (``python train.py -m``)."""

from collections.abc import Callable
from typing import Any

from srlab.extension_points import Registry, imported

#: An extension registers two functions, written ``module:function`` so that they are imported when needed:
#: ``begin(config, config_name)`` is called before Hydra starts the cells of a composed sweep;
#: ``run_cell(config)`` runs one composed cell and returns its validation score or None.
MULTIRUN: Registry[str] = Registry("multirun engine")


def multirun(function: str) -> Callable[..., Any]:
    """``begin`` or ``run_cell`` of the engine; a ``ValueError`` without one."""
    name = MULTIRUN.get(function)
    if name is None:
        raise ValueError("-m runs a sweep, and srlab.extensions.sweep is not installed; start single runs")
    return imported(name)
