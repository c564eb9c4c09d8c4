"""Packages of srlab's extras: imported when they are needed, or a message that names the extra."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def import_optional(module: str, *, purpose: str, extra: str) -> Any:
    """A module, such as ``av``, which type checkers need not find.

    Args:
        module: its full name.
        purpose: what needs it, the beginning of a sentence.
        extra: of srlab, the one that installs it.

    Raises:
        ValueError: it, or a package that it imports, is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(_message(purpose, [error.name or module], extra)) from error


def require_packages(packages: Sequence[str], *, purpose: str, extra: str) -> None:
    """Check that all packages are installed without importing them, which may take seconds.

    Args:
        packages: names to import.
        purpose: what needs them, the beginning of a sentence.
        extra: of srlab, the one that installs them.

    Raises:
        ValueError: some are not installed; the message names them.
    """
    if missing := missing_packages(packages):
        raise ValueError(_message(purpose, missing, extra))


def missing_packages(packages: Sequence[str]) -> list[str]:
    """Those that are not installed."""
    return [name for name in packages if find_spec(name) is None]


def _message(purpose: str, missing: Sequence[str], extra: str) -> str:
    verb = "which is" if len(missing) == 1 else "which are"
    return f'{purpose} needs {" and ".join(missing)}, {verb} not installed: pip install -e ".[{extra}]"'
