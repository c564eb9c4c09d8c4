"""How files name the weights of our networks: one table for each code base, found by its file's name."""

import importlib
import pkgutil

from srlab.checkpoints.layouts.layout import Layout
from srlab.models.registry import network_classes

__all__ = ["Layout", "known_layouts"]


def known_layouts() -> list[Layout]:
    """The networks' own official layouts, then every ``Layout`` in the modules of this package."""
    layouts = [
        Layout(name=network.__name__, network=network, landmarks=network.official_landmarks)
        for network in network_classes()
        if network.official_landmarks
    ]
    for module_info in pkgutil.iter_modules(__path__, f"{__name__}."):
        members = vars(importlib.import_module(module_info.name)).values()
        layouts += [member for member in members if isinstance(member, Layout)]
    return layouts
