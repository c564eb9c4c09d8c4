"""Registries to which extensions add, and the function that loads extensions.

The core never imports :mod:`srlab.extensions`. A package below it that offers something holds a module
``plugin.py``, which registers it when it is imported; plugins import nothing slow. Where the folder of an
extension is missing, so is what it offers, and the core works without it.
"""

import functools
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

_PACKAGE = "srlab.extensions"

T = TypeVar("T")


class Registry(Generic[T]):
    """Named objects of one kind, in the order in which they were registered.

    Args:
        kind: what they are, for messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str, entry: T) -> T:
        """Add ``entry``.

        Raises:
            ValueError: ``name`` is taken by another object.
        """
        if self._entries.setdefault(name, entry) is not entry:
            raise ValueError(f"{self.kind} {name!r} is registered already")
        return entry

    def get(self, name: str) -> T | None:
        """The object of that name once all extensions are loaded; None if nothing registered it."""
        load_extensions()
        return self._entries.get(name)

    def __iter__(self) -> Iterator[T]:
        load_extensions()
        return iter(tuple(self._entries.values()))


@functools.cache
def load_extensions() -> tuple[str, ...]:
    """Import the plugin of every extension that is installed, once; returns the extensions' names."""
    if importlib.util.find_spec(_PACKAGE) is None:
        return ()
    package = importlib.import_module(_PACKAGE)
    # found by file: looking for them as modules would import the packages of all other extensions
    plugins = sorted(path for folder in package.__path__ for path in Path(folder).glob("*/plugin.py"))
    for path in plugins:
        importlib.import_module(f"{_PACKAGE}.{path.parent.name}.plugin")
    return tuple(path.parent.name for path in plugins)


def imported(name: str) -> Any:
    """The object that ``module:object`` names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
