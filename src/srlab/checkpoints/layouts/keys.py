"""Names of weights: renaming by templates, in both directions; counting modules."""

import re
from collections.abc import Iterable, Mapping
from functools import cache

from torch import Tensor

#: Pairs of templates, applied in order: what a key contains and what takes its place. ``{}`` stands for a
#: number, ``*`` for the last part of a key. A template matches at the start of a key, or, if it begins with a
#: dot, anywhere inside.
Names = tuple[tuple[str, str], ...]


def rename(key: str, names: Names) -> str:
    """``key`` after all replacements; a number that only the new name has becomes ``N``."""
    for template, replacement in names:
        found = _pattern(template).search(key)
        if found:
            numbers = iter(found.groups()[: template.count("{}")])
            filled = re.sub(r"\{\}", lambda _: next(numbers, "N"), replacement)  # noqa: B023 used at once
            filled = filled.replace("*", found.groupdict().get("last", "*"))
            key = key[: found.start()] + filled + key[found.end() :]
    return key


def rename_all(state: Mapping[str, Tensor], names: Names) -> dict[str, Tensor]:
    """A state dict with all keys renamed."""
    return {rename(key, names): value for key, value in state.items()}


def reverse(names: Names) -> Names:
    """Names for the way back."""
    return tuple((ours, theirs) for theirs, ours in reversed(names))


@cache
def _pattern(template: str) -> re.Pattern[str]:
    expression = re.escape(template).replace(r"\{\}", r"(\d+)").replace(r"\*", r"(?P<last>[^.]+)$")
    return re.compile(expression if template.startswith(".") else f"^{expression}")


def count_numbered(keys: Iterable[str], prefix: str) -> int:
    """How many modules have keys of ``prefix`` and a number; numbers start from 0.

    Raises:
        KeyError: a number is missing; the first such module is named.
    """
    numbers = {int(key[len(prefix) :].split(".")[0]) for key in keys if key.startswith(prefix)}
    for number in range(len(numbers)):
        if number not in numbers:
            raise KeyError(f"{prefix}{number}")
    return len(numbers)
