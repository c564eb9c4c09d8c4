"""Files that do not say what they hold: network, arguments and layout from keys and shapes alone."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from srlab.checkpoints.layouts import Layout, known_layouts
from srlab.checkpoints.layouts.keys import first_few
from srlab.checkpoints.places import Found, choose, find_weights, state_dicts
from srlab.models.registry import import_path, network_classes

# What layouts raise when a file has other keys or shapes than they expect.
_UNREADABLE = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError)


class DetectedFile(NamedTuple):
    """What a file is, its tensors under our keys, and the layout of its own keys."""

    description: dict[str, Any]
    state: dict[str, Tensor]
    layout: Layout


def detect_file(file: Path, content: Mapping[str, Any], container: str | None) -> DetectedFile:
    """The one set of weights in the file that has the landmarks of a layout.

    Args:
        file: for messages.
        content: its top level.
        container: the entry to read where a file has several; None: averaged weights before others.

    Raises:
        ValueError: no network, several, or one that cannot be read; the message says what was found.
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
    return _interpret(file, chosen, passed_over if container is None else ())


def _interpret(file: Path, chosen: Found, passed_over: Sequence[str]) -> DetectedFile:
    """Arguments and weights of the network."""
    layout, official = chosen.layout, chosen.layout.official
    watched = _WatchedState(_renamed(file, chosen), layout)
    try:
        state, differing, known = layout.convert(watched)
        watched = _WatchedState(state, layout)
        absent = [mark for mark in official.landmarks if mark not in state]
        if absent:
            raise KeyError(absent[0])
        arguments, assumed = official.detect(watched)
        ours, options = official.to_ours(watched), official.options(watched)
    except _UNREADABLE as error:
        raise ValueError(f"{file} looks like {layout.name}, but {watched.fault(error)}") from error
    description = {
        "layout": "official",
        "source": layout.name,
        "container": chosen.container,
        "passed_over": tuple(passed_over),
        "beside": chosen.beside,
        "official_options": options,
        "model": {"_target_": import_path(official.network), **arguments, **differing},
        "assumed": tuple(name for name in assumed if name not in known),
    }
    return DetectedFile(description, ours, layout)


def _renamed(file: Path, chosen: Found) -> dict[str, Tensor]:
    """The weights under official names."""
    layout, sources = chosen.layout, {}
    for key in chosen.state:
        other = sources.setdefault(layout.official_name(key), key)
        if other != key:
            raise ValueError(
                f"{file} looks like {layout.name}, but has both {other} and {key} for one tensor"
            )
    return {name: chosen.state[key] for name, key in sources.items()}


class _WatchedState(Mapping[str, Tensor]):
    """A state dict that remembers which key was read last: if a layout fails, that one is at fault."""

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
    """Why there are no weights to read: another container, an incomplete network, or what else is there."""
    held = dict(state_dicts(content))
    if container is not None and found:
        names = [each.container or "bare weights" for each in found]
        return f"{file} has no weights called {container}; it has {first_few(names)}"
    nameless = [
        f"{key!r} ({type(key).__name__})"
        for state in held.values()
        for key in state
        if not isinstance(key, str)
    ]
    if nameless:
        return (
            f"{file}: no known network has such weights: the keys of a state dict are names, "
            f"here are {first_few(nameless)}"
        )
    partial = (_partial(list(state), layout) for state in held.values() for layout in layouts)
    closest = max(filter(None, partial), default=None)
    if closest:
        return f"{file}: {closest[1]}"
    groups = [
        f"{len(state)} tensors{f' in {path}' if path else ''}: {first_few(list(state))}"
        for path, state in sorted(held.items(), key=lambda item: -len(item[1]))
    ]
    others = first_few([str(key) for key in content]) or "nothing"
    known = ", ".join(network.__name__ for network in network_classes())
    holds = "; ".join(groups[:3]) or f"no tensors, only {others}"
    return f"{file}: no known network has such weights (known: {known}); it holds {holds}"


def _partial(state: Sequence[str], layout: Layout) -> tuple[int, str] | None:
    """How many landmarks are there in any block, and a message; None without the first and half of all."""
    keys = {_unnumbered(key): key for key in reversed(state)}
    ends = {mark: f".{_unnumbered(mark)}" for mark in layout.landmarks}
    present = [mark for mark, end in ends.items() if any(f".{key}".endswith(end) for key in keys)]
    if layout.landmarks[0] not in present or 2 * len(present) < len(layout.landmarks):
        return None
    sign = next(keys[key] for key in keys if f".{key}".endswith(ends[layout.landmarks[0]]))
    prefix = ".".join(sign.split(".")[: -layout.landmarks[0].count(".") - 1])
    missing = [mark for mark in layout.landmarks if f"{prefix}.{mark}".lstrip(".") not in state]
    return len(present), f"it has {sign} like {layout.name}, but lacks {first_few(missing)}"


def _unnumbered(key: str) -> str:
    """The same key for all modules of a list."""
    return re.sub(r"(?<=\.)\d+(?=\.)|(?<=_)\d+(?=\.)", "N", key)
