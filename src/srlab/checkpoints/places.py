"""Where in a file the weights of a network are: in any dictionary, with any prefix before their keys."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from srlab.checkpoints.layouts import Layout
from srlab.checkpoints.layouts.keys import first_few

# What wrappers put before every key: DataParallel and torch.compile.
_WRAPPERS = ("module.", "_orig_mod.")
# What training scripts call averaged weights: params_ema, params-ema, ema, generator_ema, ema_model.
_AVERAGED = re.compile(r"(?i)(^|[._-])(ema|averaged)([._-]|$)")
# Files nest a few dictionaries: state_dict, or model, then sd.
_DEPTH = 4


class Found(NamedTuple):
    """Weights in the key names of a layout.

    ``place`` names the dictionary, from the top of the file, and the prefix of its keys, joined by dots;
    ``beside`` are the first parts of the dictionary's other keys.
    """

    layout: Layout
    place: str
    state: dict[str, Tensor]
    beside: tuple[str, ...]

    @property
    def container(self) -> str | None:
        """The place without what wrappers add; None for a bare state dict."""
        parts = self.place.split(".")
        while parts and f"{parts[-1]}." in _WRAPPERS:
            parts.pop()
        return ".".join(parts) or None

    def is_in(self, container: str) -> bool:
        """Whether the place is ``container`` or inside it."""
        return f"{self.place}.".startswith(f"{container}.")


def state_dicts(
    content: Mapping[Any, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict[Any, Tensor]]]:
    """Every dictionary of the file that holds tensors: its path from the top, and these tensors."""
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        yield ".".join(path), tensors
    for key, value in content.items():
        if isinstance(value, Mapping) and len(path) < _DEPTH:
            yield from state_dicts(value, (*path, str(key)))


def find_weights(content: Mapping[Any, Any], layouts: Sequence[Layout]) -> list[Found]:
    """All weights that have the landmarks of a layout, averaged ones first."""
    found = []
    for path, tensors in state_dicts(content):
        named = {key: value for key, value in tensors.items() if isinstance(key, str)}
        for prefix, layout in _matches(named, layouts):
            state = {key[len(prefix) :]: value for key, value in named.items() if key.startswith(prefix)}
            others = (key.split(".")[0] for key in named if not key.startswith(prefix))
            beside = tuple(dict.fromkeys(others))
            found.append(Found(layout, f"{path}.{prefix}".strip("."), state, beside))
    return sorted(found, key=lambda each: not _AVERAGED.search(each.place))


def _matches(tensors: Mapping[str, Tensor], layouts: Sequence[Layout]) -> Iterator[tuple[str, Layout]]:
    """Prefixes, each with a layout of which all landmarks follow it."""
    for layout in layouts:
        first, *others = layout.landmarks
        for key in tensors:
            prefix = key.removesuffix(first)
            if (
                key.endswith(first)
                and prefix[-1:] in ("", ".")
                and all(prefix + other in tensors for other in others)
            ):
                yield prefix, layout


def choose(found: Sequence[Found]) -> tuple[Found, list[str]]:
    """The weights to read, averaged ones before others, and the containers of others that differ from them.

    Raises:
        ValueError: several differ, and none or several of them are averaged; all are named.
    """
    averaged = [each for each in found if _AVERAGED.search(each.place)]
    chosen, *others = averaged or found
    rivals = [each for each in others if _differs(each.state, chosen.state)]
    if rivals:
        names = [str(each.container or "the top") for each in (chosen, *rivals)]
        raise ValueError(
            f"has several sets of weights, in {first_few(names)}; "
            f"container={rivals[-1].container} takes the last one"
        )
    passed_over = [each for each in found if each is not chosen and _differs(each.state, chosen.state)]
    return chosen, [str(each.container or "the top") for each in passed_over]


def _differs(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() != second.keys() or any(not value.equal(second[key]) for key, value in first.items())


def unwrapped(key: str) -> str:
    """``key`` without the prefixes of wrappers."""
    while key.startswith(_WRAPPERS):
        key = key.split(".", 1)[1]
    return key
