"""Official state dicts: which network they are, read from keys and shapes alone."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from srlab.checkpoints.layouts import Layout, known_layouts
from srlab.checkpoints.places import Found, choose, find_weights, state_dicts
from srlab.checkpoints.words import in_words
from srlab.models.network import Network
from srlab.models.registry import network_classes

__all__ = ["OfficialFile", "misfit", "read_official"]

# What reading a network off keys and shapes raises when a file has other keys or shapes than expected.
_STUMBLES = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError)


class OfficialFile(NamedTuple):
    """What a file is, its tensors in our layout, and in the network's official one."""

    description: dict[str, Any]
    ours: dict[str, Tensor]
    official: dict[str, Tensor]
    layout: Layout


def read_official(file: Path, content: Mapping[str, Any], container: str | None) -> OfficialFile:
    """Of a file that names no network: the one set of weights that has the landmarks of a layout.

    Args:
        file: for messages.
        content: its top level.
        container: the entry to read where a file has several; None: averaged weights before others.

    Raises:
        ValueError: no network, several, or one that cannot be read; what was found is named.
    """
    layouts = known_layouts()
    everything = find_weights(content, layouts)
    found = [each for each in everything if container is None or each.is_in(container)]
    if not found:
        raise ValueError(_why_nothing(file, content, container, everything, layouts))
    try:
        chosen, passed_over = choose(found)
    except ValueError as error:
        raise ValueError(f"{file} {error}") from error
    if chosen.layout.refusal:
        raise ValueError(f"{file} holds {chosen.layout.name}, which cannot be read: {chosen.layout.refusal}")
    if container is not None:
        passed_over = []
    return _interpret(file, chosen, passed_over)


def _interpret(file: Path, chosen: Found, passed_over: Sequence[str]) -> OfficialFile:
    """Arguments and weights of the network, from those that were chosen."""
    layout, network = chosen.layout, chosen.layout.network
    watched = _WatchedState(_renamed(file, chosen), layout)
    try:
        official, differing, told = layout.read(watched)
        watched = _WatchedState(official, layout)
        arguments = network.recognise(watched)
        if arguments is None:
            raise KeyError(next(mark for mark in network.official_landmarks if mark not in official))
        untold, ours = network.untold(watched), network.from_official(watched)
        options = network.official_options(watched)
    except _STUMBLES as error:
        raise ValueError(f"{file} looks like {layout.name}, but {watched.fault(error)}") from error
    description = {
        "layout": "official",
        "source": layout.name,
        "container": chosen.container,
        "passed_over": tuple(passed_over),
        "beside": chosen.beside,
        "official_options": options,
        "model": {"_target_": f"{network.__module__}.{network.__qualname__}", **arguments, **differing},
        "assumed": tuple(name for name in untold if name not in told),
    }
    return OfficialFile(description, ours, official, layout)


def _renamed(file: Path, chosen: Found) -> dict[str, Tensor]:
    """The weights under the network's official names."""
    layout, sources = chosen.layout, {}
    for key in chosen.state:
        other = sources.setdefault(layout.official_name(key), key)
        if other != key:
            raise ValueError(
                f"{file} looks like {layout.name}, but has both {other} and {key} for one tensor"
            )
    return {name: chosen.state[key] for name, key in sources.items()}


def misfit(network: Network, file: OfficialFile) -> dict[str, list[str]]:
    """Which keys of its layout an official file lacks, has in excess, or has in another shape.

    Args:
        network: built from what the file told.
        file: what it holds.
    """
    official, name = file.official, file.layout.name_in_file
    expected = network.to_official(**file.description["official_options"])
    missing = sorted(expected.keys() - official.keys())
    return {
        "missing": [name(key) for key in missing if not _is_derived(network, key, expected[key])],
        "unexpected": [name(key) for key in sorted(official.keys() - expected.keys())],
        "of another shape": sorted(
            f"{name(key)} is {tuple(official[key].shape)} in the file, {tuple(value.shape)} in the network"
            for key, value in expected.items()
            if key in official and official[key].shape != value.shape
        ),
    }


def _is_derived(network: Network, key: str, value: Tensor) -> bool:
    """Whether an official entry is a constant that the network does not need."""
    return not network.from_official({key: value})


class _WatchedState(Mapping[str, Tensor]):
    """A state dict that knows which key was read last: where a network stumbles, that one is at fault."""

    def __init__(self, state: Mapping[str, Tensor], layout: Layout) -> None:
        self._state = state
        self._layout = layout
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
            return f"lacks {self._layout.name_in_file(str(error.args[0]))}"
        if self._last is None or self._last not in self._state:
            return f"cannot be read: {error}"
        name, shape = self._layout.name_in_file(self._last), tuple(self._state[self._last].shape)
        return f"cannot be read at {name} of shape {shape}: {error}"


def _why_nothing(
    file: Path,
    content: Mapping[Any, Any],
    container: str | None,
    found: Sequence[Found],
    layouts: Sequence[Layout],
) -> str:
    """Why no weights can be taken: another container, an incomplete network, or what else the file holds."""
    held = dict(state_dicts(content))
    if container is not None and found:
        names = [each.container or "bare weights" for each in found]
        return f"{file} has no weights called {container}; it has {in_words(names)}"
    nameless = [
        f"{key!r} ({type(key).__name__})"
        for state in held.values()
        for key in state
        if not isinstance(key, str)
    ]
    if nameless:
        return (
            f"{file}: no known network has such weights: the keys of a state dict are names, "
            f"here are {in_words(nameless)}"
        )
    closest = _closest(held, layouts)
    if closest:
        return f"{file}: {closest}"
    names = ", ".join(network.__name__ for network in network_classes())
    groups = [
        f"{len(state)} tensors{f' in {path}' if path else ''}: {in_words(list(state))}"
        for path, state in sorted(held.items(), key=lambda item: -len(item[1]))
    ]
    holds = (
        "; ".join(groups[:3]) or f"no tensors, only {in_words([str(key) for key in content]) or 'nothing'}"
    )
    return f"{file}: no known network has such weights (known: {names}); it holds {holds}"


def _closest(held: Mapping[str, Mapping[str, Tensor]], layouts: Sequence[Layout]) -> str | None:
    """Of the layout whose most distinctive key is there, but not all others: the evidence and the gap."""
    partial = [
        match for state in held.values() for layout in layouts if (match := _partial(list(state), layout))
    ]
    return max(partial)[1] if partial else None


def _partial(state: Sequence[str], layout: Layout) -> tuple[int, str] | None:
    """How many landmarks are there in any block, and in words; None without the first one and half of all."""
    keys = {_unnumbered(key): key for key in reversed(state)}
    ends = {mark: f".{_unnumbered(mark)}" for mark in layout.landmarks}
    present = [mark for mark, end in ends.items() if any(f".{key}".endswith(end) for key in keys)]
    if layout.landmarks[0] not in present or 2 * len(present) < len(layout.landmarks):
        return None
    sign = next(keys[key] for key in keys if f".{key}".endswith(ends[layout.landmarks[0]]))
    prefix = ".".join(sign.split(".")[: -layout.landmarks[0].count(".") - 1])
    missing = [mark for mark in layout.landmarks if f"{prefix}.{mark}".lstrip(".") not in state]
    return len(present), f"it has {sign} like {layout.name}, but lacks {in_words(missing)}"


def _unnumbered(key: str) -> str:
    """All modules of a list alike."""
    return re.sub(r"(?<=\.)\d+(?=\.)|(?<=_)\d+(?=\.)", "N", key)
