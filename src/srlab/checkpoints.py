"""Networks from files: our own, and official ones recognised by their keys. No code in a file ever runs."""

import errno
import logging
import pickle
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
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


# What PyTorch's reader was seen to raise on truncated files and on pickles that it did not write; besides,
# an OSError with EINVAL for a seek to a place before the file.
_DAMAGE = (
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    struct.error,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)
# What reading a network off keys and shapes raises when a file has other keys or shapes than expected.
_STUMBLES = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError)

# How files begin: PyTorch's before version 1.6, and what is taken for one by mistake.
_LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_PEEK = 64
_LARGEST_SAFETENSORS_HEADER = 100_000_000


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
    network = _construct(file, description["model"])
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
    with file.open("rb") as stream:  # a file that cannot be opened is not called damaged
        start = stream.read(_PEEK)
    if _begins_safetensors(start):
        return _read_safetensors(file)
    foreign = _foreign(file, start)
    if foreign:
        raise ValueError(f"{file} {foreign}; {_known_layouts()}")
    try:
        # a stream: given a path, PyTorch goes by the name's end
        with torch.serialization.safe_globals(_INERT_GLOBALS), file.open("rb") as stream:
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise _unreadable(file, start, error) from error
    except _DAMAGE as error:
        raise _unreadable(file, start, error) from error
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
        raise _damaged(file, error) from error


def _begins_safetensors(start: bytes) -> bool:
    """The length of a header, and the header's first brace."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _LARGEST_SAFETENSORS_HEADER


def _foreign(file: Path, start: bytes) -> str | None:
    """What the file is if it cannot be a checkpoint, from how it begins; None if it may be one."""
    if not start:
        return "is empty; download or copy it again"
    if start.startswith(b"PK"):
        return _foreign_zip(file)
    if start.startswith(b"\x80"):
        return None
    if start.startswith(b"\x93NUMPY"):
        return "is a NumPy array, not a checkpoint"
    text = start.decode("latin-1")
    if text.isascii() and all(letter.isprintable() or letter.isspace() for letter in text):
        return f"is text, not a checkpoint; it begins {text[:30]!r}"
    return f"is no checkpoint: it begins with {start[:8].hex(' ')}, as no known format does"


def _foreign_zip(file: Path) -> str | None:
    """What a complete zip archive is if PyTorch did not write it."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):  # PyTorch's reader says more
        return None
    if any(name.endswith("data.pkl") for name in names):
        return None
    kind = "NumPy" if any(name.endswith(".npy") for name in names) else "zip"
    return f"is a {kind} archive, not a checkpoint; it holds {_first(names) or 'nothing'}"


def _unreadable(file: Path, start: bytes, error: Exception) -> ValueError:
    """Why PyTorch could not read a file that looked like one of its own."""
    code = re.search(r"GLOBAL (\S+)", str(error))
    if code:
        return ValueError(
            f"{file} asks for {code[1]}, which could run code; only tensors and plain data are read. "
            "Save the state dict alone, as tensors"
        )
    if start.startswith(b"\x80") and not start.startswith(_LEGACY_START[: len(start)]):
        return ValueError(
            f"{file} is a pickle that torch.save did not write; it could run code and is not read; "
            f"{_known_layouts()}"
        )
    return _damaged(file, error)


def _damaged(file: Path, error: Exception) -> ValueError:
    """For a file of a known format that breaks off or contradicts itself."""
    reason = str(error).split(". ")[0] or type(error).__name__
    size = file.stat().st_size
    return ValueError(f"{file} is truncated or damaged ({size} bytes; {reason}); download or copy it again")


def _known_layouts() -> str:
    """What can be read."""
    names = ", ".join(known.__name__ for known in network_classes() if known.official_landmarks)
    return (
        f"known are checkpoints and run folders of srlab, and official state dicts of {names}, "
        f"by torch.save (bare or under {', '.join(_CONTAINERS)}) or as safetensors"
    )


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
        if isinstance(key, str) and key.startswith(_OUR_PREFIX) and isinstance(value, Tensor)
    }
    return {**ours, "layout": "srlab", "model": {**model, **overrides}}, state


def _read_official(
    file: Path, content: Mapping[str, Any], overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and state, in our layout, of a file that names no network: each network is asked."""
    state = _official_state(file, content)
    refusals = []
    for network_class in network_classes():
        watched = _WatchedState(state)
        try:
            arguments = network_class.recognise(watched)
            if arguments is None:
                continue
            untold, ours = network_class.untold(watched), network_class.from_official(watched)
        except _STUMBLES as error:
            refusal = ValueError(f"{file} looks like {network_class.__name__}, but {watched.fault(error)}")
            refusal.__cause__ = error
            refusals.append(refusal)
            continue
        target = f"{network_class.__module__}.{network_class.__qualname__}"
        description = {
            "layout": "official",
            "model": {"_target_": target, **arguments, **overrides},
            "assumed": tuple(name for name in untold if name not in overrides),
        }
        return description, ours
    raise refusals[0] if refusals else ValueError(f"{file}: {_why_unknown(state, content)}")


def _official_state(file: Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a file that is not ours, averaged weights first, under bare keys."""
    inner = next((content[name] for name in _CONTAINERS if isinstance(content.get(name), Mapping)), content)
    tensors = {key: value for key, value in inner.items() if isinstance(value, Tensor)}
    nameless = [f"{key!r} ({type(key).__name__})" for key in tensors if not isinstance(key, str)]
    if nameless:
        raise ValueError(
            f"{file}: no known network has such weights: the keys of a state dict are names, "
            f"here are {_first(nameless)}"
        )
    return {_unwrapped(key): value for key, value in tensors.items()}


class _WatchedState(Mapping[str, Tensor]):
    """A state dict that knows which key was read last: where a network stumbles, that one is at fault."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._state = state
        self._last: str | None = None

    def __getitem__(self, key: str) -> Tensor:
        self._last = key
        return self._state[key]

    def __iter__(self) -> Iterator[str]:
        for key in self._state:
            self._last = key
            yield key

    def __len__(self) -> int:
        return len(self._state)

    def __contains__(self, key: object) -> bool:
        return key in self._state

    def fault(self, error: Exception) -> str:
        """What is wrong with the key that ``error`` is about."""
        if isinstance(error, KeyError):
            return f"lacks {error.args[0]}"
        if self._last is None or self._last not in self._state:
            return f"cannot be read: {error}"
        return f"cannot be read at {self._last} of shape {tuple(self._state[self._last].shape)}: {error}"


def _why_unknown(state: Mapping[str, Tensor], content: Mapping[str, Any]) -> str:
    """Of the network that most keys belong to, what is missing and unexpected; else what the file holds."""

    def belonging(network_class: type[Network]) -> list[str]:
        return [key for key in state if re.fullmatch(network_class.official_keys, key)]

    closest = max(network_classes(), key=lambda network_class: len(belonging(network_class)))
    known = belonging(closest)
    missing = [key for key in closest.official_landmarks if key not in state]
    if missing and len(known) > len(state) / 2:
        unexpected = [key for key in state if key not in known]
        return (
            f"{len(known)} of {len(state)} keys are {closest.__name__}'s, but it cannot be read without "
            f"the missing {_first(missing)}; unexpected: {_first(unexpected) or 'none'}"
        )
    names = ", ".join(network_class.__name__ for network_class in network_classes())
    held = f"{len(state)} tensors: {_first(list(state))}" if state else "no tensors"
    return f"no known network has such weights (known: {names}); it holds {held}" + (
        "" if state else f", only {_first([str(key) for key in content]) or 'nothing'}"
    )


def _construct(file: Path, model: Mapping[str, Any]) -> Network:
    """The network that the file describes."""
    try:
        return construct(model)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ValueError(f"{file}: {error}") from error


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
            "the file does not tell %s; assumed as published, override with load_model(path, …) or on the "
            "command line, evaluate.py +overrides.NAME=… such as +overrides.window_sizes=[8,8,8]",
            ", ".join(f"{name}={model[name]}" for name in description["assumed"]),
        )
