"""Networks from files: our own, and official ones recognised by their keys. No code in a file ever runs."""

import logging
import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from srlab.models.network import Network
from srlab.models.registry import construct, network_classes

__all__ = ["LoadedCheckpoint", "load_model", "load_strictly", "read_checkpoint"]

logger = logging.getLogger(__name__)

# Our entry in a Lightning checkpoint: a plain dictionary with the model's description, protocol and versions.
_OUR_ENTRY = "srlab"
_OUR_PREFIX = "network."
_RUN_FILES = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")

# Where official files keep their weights, the averaged ones first: SwinIR's and BasicSR's, then ELAN's.
_CONTAINERS = ("params_ema", "params", "model_state_dict", "state_dict")
# What wrappers put before every key: DataParallel and torch.compile.
_WRAPPERS = ("module.", "_orig_mod.")

_NAMED_KEYS = 5

# Training scripts leave numpy numbers among their statistics. These constructors make numbers and do nothing
# else; the second name is the one that numpy 1 wrote.
_SCALAR = np.float64(0).__reduce__()[0]
_INERT_GLOBALS = [
    _SCALAR,
    (_SCALAR, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4")),
]


# What PyTorch's reader was seen to raise on truncated files and on files of other kinds.
_DAMAGE = (RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, struct.error)


class LoadedCheckpoint(NamedTuple):
    """A network in evaluation mode, and what its file says about it."""

    network: Network
    description: dict[str, Any]


def load_model(path: str | Path, **overrides: Any) -> Network:
    """The network of a file or run folder, with its weights, in evaluation mode on the CPU in float32.

    Args:
        path: our checkpoint or run folder, an official ELAN, SwinIR or EDSR file, or safetensors.
        overrides: constructor arguments that the file cannot tell or that you want otherwise, such as
            ``window_sizes=[8, 8, 8]``, ``shift_schedule="none"`` or ``backend="reference"``.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: not a checkpoint, no known network, or weights that do not fit.
    """
    return read_checkpoint(path, **overrides).network


def read_checkpoint(path: str | Path, **overrides: Any) -> LoadedCheckpoint:
    """Like :func:`load_model`, with a description.

    It always holds ``file``, ``layout`` (``srlab`` or ``official``), ``network``, ``scale``, ``model``
    (import path and constructor arguments) and ``assumed`` (arguments that the file does not tell); a
    checkpoint of ours adds all that it carries, such as ``protocol`` and ``versions``.
    """
    file = _find_file(Path(path))
    content = _read(file)
    ours = content.get(_OUR_ENTRY)
    if isinstance(ours, Mapping):
        description, state = _read_ours(file, content, ours, overrides)
    else:
        description, state = _read_official(file, content, overrides)
    network = construct(description["model"])
    load_strictly(network, state, source=str(file))
    found = {"file": str(file), "network": type(network).__name__, "scale": network.scale, "assumed": ()}
    description = {**description, **found, "assumed": description.get("assumed", ())}
    _log(description)
    return LoadedCheckpoint(network.eval(), description)


def load_strictly(network: Network, state: Mapping[str, Tensor], *, source: str) -> None:
    """Copy ``state`` into ``network``, whatever its dtype.

    Raises:
        ValueError: an entry is missing, unexpected or of another shape; the first few are named.
    """
    own = network.state_dict()
    shapes = [
        f"{key} is {tuple(state[key].shape)} in the file, {tuple(own[key].shape)} in the network"
        for key in own.keys() & state.keys()
        if own[key].shape != state[key].shape
    ]
    faults = {
        "missing": sorted(own.keys() - state.keys()),
        "unexpected": sorted(state.keys() - own.keys()),
        "of another shape": sorted(shapes),
    }
    complaints = [f"{len(keys)} {fault}: {_first(keys)}" for fault, keys in faults.items() if keys]
    if complaints:
        raise ValueError(f"{source} does not fit {type(network).__name__}: " + "; ".join(complaints))
    network.load_state_dict(dict(state))


def _find_file(path: Path) -> Path:
    """The checkpoint itself: of a run folder the best one, else the last one."""
    if path.is_dir():
        for name in _RUN_FILES:
            if (path / name).is_file():
                return path / name
        raise FileNotFoundError(
            f"{path} is a folder without {' or '.join(_RUN_FILES)}; name a checkpoint file"
        )
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    return path


def _read(file: Path) -> dict[str, Any]:
    """The file's top level; pickles are read as data only."""
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    try:
        with torch.serialization.safe_globals(_INERT_GLOBALS):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        fault = (
            f"asks for {foreign[1]}, which could run code"
            if foreign
            else "is no checkpoint, or it is damaged"
        )
        raise ValueError(
            f"{file} {fault}; only tensors and plain data are read. Save the state dict alone, as tensors"
        ) from error
    except _DAMAGE as error:
        raise ValueError(f"{file} is not a PyTorch checkpoint, or it is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a {type(content).__name__}, expected a dictionary of tensors")
    return content


def _read_safetensors(file: Path) -> dict[str, Any]:
    """All tensors of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is not a safetensors file, or it is damaged: {error}") from error


def _read_ours(
    file: Path, content: Mapping[str, Any], ours: Mapping[str, Any], overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and state of a checkpoint that we wrote; the trainer's other entries are left alone."""
    model, weights = ours.get("model"), content.get("state_dict")
    if not isinstance(model, Mapping) or not isinstance(weights, Mapping):
        raise ValueError(f"{file} lacks {_OUR_ENTRY}.model or state_dict; it was not written completely")
    state = {
        _unwrapped(key.removeprefix(_OUR_PREFIX)): value
        for key, value in weights.items()
        if key.startswith(_OUR_PREFIX)
    }
    return {**ours, "layout": "srlab", "model": {**model, **overrides}}, state


def _read_official(
    file: Path, content: Mapping[str, Any], overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and state, in our layout, of a file that names no network: each network is asked."""
    inner = next((content[name] for name in _CONTAINERS if isinstance(content.get(name), Mapping)), content)
    state = {_unwrapped(key): value for key, value in inner.items() if isinstance(value, Tensor)}
    for network_class in network_classes():
        arguments = network_class.recognise(state)
        if arguments is not None:
            target = f"{network_class.__module__}.{network_class.__qualname__}"
            description = {
                "layout": "official",
                "model": {"_target_": target, **arguments, **overrides},
                "assumed": tuple(name for name in network_class.untold(state) if name not in overrides),
            }
            return description, network_class.from_official(state)
    known = ", ".join(network_class.__name__ for network_class in network_classes())
    raise ValueError(
        f"{file}: no known network has such weights (known: {known}); "
        f"it holds {len(state)} tensors: {_first(list(state))}"
    )


def _unwrapped(key: str) -> str:
    """``key`` without what wrappers put before it."""
    while key.startswith(_WRAPPERS):
        key = key.split(".", 1)[1]
    return key


def _first(keys: list[str]) -> str:
    """The first few of a list, in words."""
    rest = len(keys) - _NAMED_KEYS
    return ", ".join(keys[:_NAMED_KEYS]) + (f" and {rest} more" if rest > 0 else "")


def _log(description: Mapping[str, Any]) -> None:
    """Say what was found, and what the file left open."""
    model = description["model"]
    arguments = ", ".join(f"{name}={value}" for name, value in model.items() if not name.startswith("_"))
    logger.info(
        "%s: %s layout, %s: %s", description["file"], description["layout"], description["network"], arguments
    )
    if description["assumed"]:
        logger.info(
            "the file does not tell %s; assumed as published, override with load_model(path, …)",
            ", ".join(f"{name}={model[name]}" for name in description["assumed"]),
        )
