"""Official state dicts: which network they are, read from keys and shapes alone."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from srlab.checkpoints.files import in_words
from srlab.models.network import Network
from srlab.models.registry import network_classes

__all__ = ["CONTAINERS", "OfficialFile", "misfit", "read_official", "unwrapped"]

# Where official files keep their weights, the averaged ones first: SwinIR's and BasicSR's, then ELAN's.
CONTAINERS = ("params_ema", "params", "model_state_dict", "state_dict")
# Scripts of implicit image functions (LIIF, LTE) keep theirs one level deeper, beside a description.
_IMPLICIT = "sd"
# What wrappers put before every key: DataParallel and torch.compile.
_WRAPPERS = ("module.", "_orig_mod.")

# What reading a network off keys and shapes raises when a file has other keys or shapes than expected.
_STUMBLES = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError)


class OfficialFile(NamedTuple):
    """What a file is, its tensors in our layout, and as they lie there."""

    description: dict[str, Any]
    ours: dict[str, Tensor]
    official: dict[str, Tensor]


def read_official(file: Path, content: Mapping[str, Any], container: str | None) -> OfficialFile:
    """Of a file that names no network: each network is asked.

    Args:
        file: for messages.
        content: its top level.
        container: the entry to read where a file has several; None: averaged weights first.
    """
    containers = _containers(content)
    if container is not None and container not in containers:
        raise ValueError(
            f"{file} has no weights called {container}; it has {in_words(list(containers)) or 'none'}"
        )
    container = container or next(iter(containers), None)
    state = _tensors(file, content if container is None else containers[container])
    refusals = []
    for network_class in network_classes():
        watched = _WatchedState(state)
        try:
            arguments = network_class.recognise(watched)
            if arguments is None:
                continue
            untold, ours = network_class.untold(watched), network_class.from_official(watched)
            written = network_class.official_options(watched)
        except _STUMBLES as error:
            refusal = ValueError(f"{file} looks like {network_class.__name__}, but {watched.fault(error)}")
            refusal.__cause__ = error
            refusals.append(refusal)
            continue
        target = f"{network_class.__module__}.{network_class.__qualname__}"
        description = {
            "layout": "official",
            "container": container,
            "passed_over": tuple(_others(containers, container)),
            "official_options": written,
            "model": {"_target_": target, **arguments},
            "assumed": untold,
        }
        return OfficialFile(description, ours, state)
    raise refusals[0] if refusals else ValueError(f"{file}: {_why_unknown(state, content)}")


def misfit(
    network: Network, official: Mapping[str, Tensor], options: Mapping[str, Any]
) -> dict[str, list[str]]:
    """Which official keys an official file lacks, has in excess, or has in another shape.

    Args:
        network: built from what the file told.
        official: the file's tensors.
        options: of the network's ``to_official``.
    """
    expected = network.to_official(**options)
    missing = sorted(expected.keys() - official.keys())
    return {
        "missing": [key for key in missing if not _is_derived(network, key, expected[key])],
        "unexpected": sorted(official.keys() - expected.keys()),
        "of another shape": sorted(
            f"{key} is {tuple(official[key].shape)} in the file, {tuple(value.shape)} in the network"
            for key, value in expected.items()
            if key in official and official[key].shape != value.shape
        ),
    }


def _is_derived(network: Network, key: str, value: Tensor) -> bool:
    """Whether an official entry is a constant that the network does not need."""
    return not network.from_official({key: value})


def _containers(content: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Where weights lie in a file that is not ours, averaged ones first; empty for a bare state dict."""
    if isinstance(content.get("model"), Mapping) and isinstance(content["model"].get(_IMPLICIT), Mapping):
        content = content["model"]
    names = (*CONTAINERS, _IMPLICIT)
    return {name: content[name] for name in names if isinstance(content.get(name), Mapping)}


def _others(containers: Mapping[str, Mapping[str, Any]], chosen: str | None) -> list[str]:
    """Entries whose weights are not those of the chosen one."""

    def differs(weights: Mapping[str, Any]) -> bool:
        wanted = containers[chosen] if chosen else {}
        if weights.keys() != wanted.keys():
            return True
        return any(
            isinstance(value, Tensor) and not value.equal(wanted[key]) for key, value in weights.items()
        )

    return [name for name, weights in containers.items() if name != chosen and differs(weights)]


def _tensors(file: Path, weights: Mapping[Any, Any]) -> dict[str, Tensor]:
    """A state dict under bare keys."""
    tensors = {key: value for key, value in weights.items() if isinstance(value, Tensor)}
    nameless = [f"{key!r} ({type(key).__name__})" for key in tensors if not isinstance(key, str)]
    if nameless:
        raise ValueError(
            f"{file}: no known network has such weights: the keys of a state dict are names, "
            f"here are {in_words(nameless)}"
        )
    return {unwrapped(key): value for key, value in tensors.items()}


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
            f"the missing {in_words(missing)}; unexpected: {in_words(unexpected) or 'none'}"
        )
    names = ", ".join(network_class.__name__ for network_class in network_classes())
    held = f"{len(state)} tensors: {in_words(list(state))}" if state else "no tensors"
    return f"no known network has such weights (known: {names}); it holds {held}" + (
        "" if state else f", only {in_words([str(key) for key in content]) or 'nothing'}"
    )


def unwrapped(key: str) -> str:
    """``key`` without what wrappers put before it."""
    while key.startswith(_WRAPPERS):
        key = key.split(".", 1)[1]
    return key
