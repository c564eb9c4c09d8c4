"""Layouts of files with weights: a module for each network, found by a scan of this folder."""

import importlib
import inspect
import pkgutil
from functools import cache

from srlab.checkpoints.layouts.layout import Layout, OfficialLayout
from srlab.models.network import Network

__all__ = ["Layout", "OfficialLayout", "known_layouts", "official_layout"]


@cache
def known_layouts() -> tuple[Layout, ...]:
    """All official layouts, then those of other code, each in the order of the modules' names."""
    others = (member for member in _members() if isinstance(member, Layout))
    return (*(Layout.of(each) for each in _official_layouts().values()), *others)


def official_layout(network_class: type[Network]) -> OfficialLayout | None:
    """The layout of the official implementation; None if there is none."""
    layouts = _official_layouts()
    return next((layouts[base] for base in network_class.__mro__ if base in layouts), None)


@cache
def _official_layouts() -> dict[type, OfficialLayout]:
    classes = (member for member in _members() if inspect.isclass(member) and not inspect.isabstract(member))
    return {each.network: each() for each in classes if issubclass(each, OfficialLayout)}


def _members() -> list[object]:
    modules = pkgutil.iter_modules(__path__, f"{__name__}.")
    return [member for module in modules for member in vars(importlib.import_module(module.name)).values()]
