"""Which networks there are: every concrete ``Network`` in a module below ``srlab.models``."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

import srlab.models
from srlab.models.network import Network

__all__ = ["construct", "find_class", "network_classes"]


def network_classes() -> list[type[Network]]:
    """All network classes, in the order of their modules' names."""
    classes = []
    for module_info in pkgutil.walk_packages(srlab.models.__path__, "srlab.models."):
        module = importlib.import_module(module_info.name)
        classes += [
            member
            for member in vars(module).values()
            if inspect.isclass(member)
            and issubclass(member, Network)
            and not inspect.isabstract(member)
            and member.__module__ == module.__name__
        ]
    return classes


def find_class(target: str) -> type[Network]:
    """The class with the import path ``target``; nothing outside ``srlab.models`` is ever imported.

    Raises:
        ValueError: ``target`` is no network of this package.
    """
    known = {f"{network.__module__}.{network.__qualname__}": network for network in network_classes()}
    if target not in known:
        raise ValueError(f"{target!r} is no network of srlab; known are {', '.join(known)}")
    return known[target]


def construct(model: Mapping[str, Any]) -> Network:
    """Build a network from ``_target_`` and constructor arguments, as presets and checkpoints have them.

    Raises:
        ValueError: an argument is missing, unknown or impossible.
    """
    arguments = {name: value for name, value in model.items() if name not in ("_target_", "_convert_")}
    network_class = find_class(str(model.get("_target_")))
    parameters = inspect.signature(network_class).parameters
    required = {name for name, parameter in parameters.items() if parameter.default is parameter.empty}
    unknown, missing = arguments.keys() - parameters.keys(), required - arguments.keys()
    if unknown or missing:
        raise ValueError(
            f"{network_class.__name__} takes {', '.join(parameters)}; "
            f"unknown: {', '.join(sorted(unknown)) or 'none'}; "
            f"missing: {', '.join(sorted(missing)) or 'none'}"
        )
    return network_class(**arguments)
