"""srlab: a laboratory for efficient super-resolution transformers.

Importing it sets ``GOMP_SPINCOUNT`` where nothing else has decided how long idle threads spin
(:mod:`srlab.thread_spin`; ``SRLAB_THREADS_SPIN=keep`` prevents it), and changes nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from srlab.thread_spin import shorten_thread_spin

if TYPE_CHECKING:
    from srlab.app.presets import create_model, list_models
    from srlab.checkpoints import load_model
    from srlab.extensions.hub.repositories import push_to_hub
    from srlab.extensions.upscale.arrays import upscale
    from srlab.ops.subnormals import flush_subnormals

__all__ = [
    "__version__",
    "create_model",
    "flush_subnormals",
    "list_models",
    "load_model",
    "push_to_hub",
    "upscale",
]

__version__ = "0.2.0.dev0"

# Imported when first used: PyTorch takes seconds, and not everyone who imports srlab needs it. The core uses
# none of these names, and one of an extension is absent where the extension's folder is.
_HOMES = {
    "create_model": "srlab.app.presets",
    "flush_subnormals": "srlab.ops.subnormals",
    "list_models": "srlab.app.presets",
    "load_model": "srlab.checkpoints",
    "push_to_hub": "srlab.extensions.hub.repositories",
    "upscale": "srlab.extensions.upscale.arrays",
}

shorten_thread_spin()


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'srlab' has no attribute {name!r}")
    try:
        home = import_module(_HOMES[name])
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("srlab.extensions"):
            raise
        raise AttributeError(f"srlab.{name} needs {error.name}, which is not installed") from error
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
