"""srlab: a laboratory for efficient super-resolution transformers."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from srlab.checkpoints import load_model
    from srlab.presets import create_model, list_models

__all__ = ["__version__", "create_model", "list_models", "load_model"]

__version__ = "0.1.0"

# Imported when first used: PyTorch takes seconds, and not everyone who imports srlab needs it.
_HOMES = {"create_model": "srlab.presets", "list_models": "srlab.presets", "load_model": "srlab.checkpoints"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'srlab' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
