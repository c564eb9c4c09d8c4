"""Files without a description of their content: network, arguments and layout from keys and shapes alone.

The weights may be in any dictionary of the file, with any prefix before their keys.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from srlab.checkpoints.layouts import Layout, known_layouts
from srlab.checkpoints.layouts.keys import rename
from srlab.models.registry import import_path, network_classes
from srlab.terminal.names import some

# What wrappers put before every key: DataParallel and torch.compile.
_WRAPPERS = ("module.", "_orig_mod.")
# What training scripts call averaged weights: params_ema, params-ema, ema, generator_ema, ema_model.
_AVERAGED = re.compile(r"(?i)(^|[._-])(ema|averaged)([._-]|$)")
# Files nest a few dictionaries: state_dict, or model, then sd.
_DEPTH = 4

# What layouts raise when a file has other keys or shapes than they expect.
_UNREADABLE = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError)


class _Found(NamedTuple):
    """Weights in the key names of a layout.

    ``place`` names the dictionary, from the top of the file, and the prefix of its keys, joined by dots.
    """

    layout: Layout
    place: str
    state: dict[str, Tensor]

    @property
    def container(self) -> str | None:
        """The place without what wrappers add; None for a bare state dict."""
        parts = self.place.split(".")
        while parts and f"{parts[-1]}." in _WRAPPERS:
            parts.pop()
        return ".".join(parts) or None

    def differs(self, other: "_Found") -> bool:
        return self.state.keys() != other.state.keys() or any(
            not value.equal(other.state[key]) for key, value in self.state.items()
        )


def detect_file(
    file: Path, content: Mapping[str, Any], container: str | None
) -> tuple[dict[str, Any], dict[str, Tensor], Layout]:
    """The one set of weights in the file that has the landmarks of a layout.

    Args:
        file: for messages.
        content: its top level.
        container: the entry to read where a file has several; None: averaged weights before others.

    Returns:
        What the file is, its tensors under our keys, and the layout of its own keys.

    Raises:
        ValueError: no network, several, or one that cannot be read; the message says what was found.
    """
    everything = _find_weights(content)
    found = [each for each in everything if container is None or f"{each.place}.".startswith(f"{container}.")]
    if not found:
        raise ValueError(f"{file}{_why_nothing(content, container, everything)}")
    chosen, passed_over = _choose(file, found)
    return _interpret(file, chosen, passed_over if container is None else ())


def unwrapped(key: str) -> str:
    """``key`` without the prefixes of wrappers."""
    while key.startswith(_WRAPPERS):
        key = key.split(".", 1)[1]
    return key


def _state_dicts(
    content: Mapping[Any, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict[Any, Tensor]]]:
    """Every dictionary of the file that holds tensors: its path from the top, and these tensors."""
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        yield ".".join(path), tensors
    for key, value in content.items():
        if isinstance(value, Mapping) and len(path) < _DEPTH:
            yield from _state_dicts(value, (*path, str(key)))


def _find_weights(content: Mapping[Any, Any]) -> list[_Found]:
    """All weights that have the landmarks of a layout, averaged ones first."""
    found = []
    for path, tensors in _state_dicts(content):
        named = {key: value for key, value in tensors.items() if isinstance(key, str)}
        for prefix, layout in _matches(named):
            state = {key[len(prefix) :]: value for key, value in named.items() if key.startswith(prefix)}
            found.append(_Found(layout, f"{path}.{prefix}".strip("."), state))
    return sorted(found, key=lambda each: not _AVERAGED.search(each.place))


def _matches(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Layout]]:
    """Prefixes, each with a layout of which all landmarks follow it."""
    for layout in known_layouts():
        first, *others = layout.landmarks
        for key in tensors:
            prefix = key.removesuffix(first)
            is_whole = key.endswith(first) and prefix[-1:] in ("", ".")
            if is_whole and all(prefix + other in tensors for other in others):
                yield prefix, layout


def _choose(file: Path, found: Sequence[_Found]) -> tuple[_Found, list[str]]:
    """The weights to read, averaged ones before others, and the containers of those that differ."""
    averaged = [each for each in found if _AVERAGED.search(each.place)]
    chosen, *others = averaged or found
    rivals = [each for each in others if each.differs(chosen)]
    if rivals:
        names = [str(each.container or "the top") for each in (chosen, *rivals)]
        raise ValueError(
            f"{file} has several sets of weights, in {some(names)}; "
            f"container={rivals[-1].container} takes the last one"
        )
    return chosen, [str(each.container or "the top") for each in found if each.differs(chosen)]


def _interpret(
    file: Path, chosen: _Found, passed_over: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Tensor], Layout]:
    """Arguments and weights of the network."""
    layout, official, sources = chosen.layout, chosen.layout.official, {}
    looks = f"{file} looks like {layout.name}, but"
    for key in chosen.state:
        other = sources.setdefault(rename(key, layout.names), key)
        if other != key:
            raise ValueError(f"{looks} has both {other} and {key} for one tensor")
    try:
        named = {name: chosen.state[key] for name, key in sources.items()}
        state, differing, known = layout.convert(named)
        absent = [mark for mark in official.landmarks if mark not in state]
        if absent:
            raise KeyError(absent[0])
        arguments, assumed = official.detect(state)
        ours, options = official.to_ours(state), official.options(state)
    except KeyError as error:
        raise ValueError(f"{looks} lacks {layout.name_in_file(str(error.args[0]))}") from error
    except _UNREADABLE as error:
        raise ValueError(f"{looks} cannot be read: {error}") from error
    description = {
        "layout": "official",
        "source": layout.name,
        "container": chosen.container,
        "passed_over": tuple(passed_over),
        "official_options": options,
        "model": {"_target_": import_path(official.network), **arguments, **differing},
        "assumed": tuple(name for name in assumed if name not in known),
    }
    return description, ours, layout


def _why_nothing(content: Mapping[Any, Any], container: str | None, found: Sequence[_Found]) -> str:
    """Why there are no weights to read: another container, or another network."""
    if container is not None and found:
        names = [each.container or "bare weights" for each in found]
        return f" has no weights called {container}; it has {some(names)}"
    groups = [
        f"{len(state)} tensors{f' in {path}' if path else ''}: {some(list(state))}"
        for path, state in sorted(_state_dicts(content), key=lambda item: -len(item[1]))
    ]
    others = some(list(content)) or "nothing"
    known = ", ".join(network.__name__ for network in network_classes())
    holds = "; ".join(groups[:3]) or f"no tensors, only {others}"
    return f": no known network has such weights (known: {known}); it holds {holds}"
