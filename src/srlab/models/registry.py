"""The list of networks: every concrete ``Network`` in a module below ``srlab.models``."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

import srlab.models
from srlab.models.network import Network

#: Constructor arguments of version 0.1.0 and their names today.
RENAMED_ARGUMENTS = {"window_side": "window_size"}


def network_classes() -> list[type[Network]]:
    """All network classes, in the order of their modules' names."""
    return [network for name in _module_names() for network in _classes_in(name)]


def find_class(target: str) -> type[Network]:
    """The class with the import path ``target``; only its module is imported, only from ``srlab.models``.

    Raises:
        ValueError: ``target`` is not a network of this package.
    """
    module_name = target.rpartition(".")[0]
    classes = _classes_in(module_name) if module_name in _module_names() else []
    for network in classes:
        if import_path(network) == target:
            return network
    known = ", ".join(map(import_path, network_classes()))
    raise ValueError(f"{target!r} is not a network of srlab; known are {known}")


def import_path(network: type[Network]) -> str:
    """What presets and checkpoints call ``_target_``."""
    return f"{network.__module__}.{network.__qualname__}"


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
        faults = [", ".join(sorted(names)) or "none" for names in (unknown, missing)]
        raise ValueError(
            f"{network_class.__name__} takes {', '.join(parameters)}; "
            f"unknown: {faults[0]}; missing: {faults[1]}"
        )
    return network_class(**arguments)


def model_of(network: Network) -> dict[str, Any]:
    """``_target_`` and all arguments that built ``network``, from which :func:`construct` builds its like."""
    parameters = inspect.signature(type(network)).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    return {"_target_": import_path(type(network)), **comparable({**defaults, **network.arguments})}


def migrate(model: Mapping[str, Any]) -> dict[str, Any]:
    """``_target_`` and constructor arguments of any version, with today's names."""
    return {RENAMED_ARGUMENTS.get(name, name): value for name, value in model.items()}


def comparable(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments with sequences as lists, whatever they were read from."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()}


def _module_names() -> list[str]:
    """Nothing is imported but packages."""
    return [module.name for module in pkgutil.walk_packages(srlab.models.__path__, "srlab.models.")]


def _classes_in(module_name: str) -> list[type[Network]]:
    return [
        member
        for member in vars(importlib.import_module(module_name)).values()
        if inspect.isclass(member)
        and issubclass(member, Network)
        and not inspect.isabstract(member)
        and member.__module__ == module_name
    ]
