"""``NAME=VALUE`` on the command line of a verb."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

__all__ = ["is_assignment", "parse_assignments", "refuse_unknown"]

_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def is_assignment(word: str) -> bool:
    """Whether a word sets something: ``NAME=…``; a path that looks like that is written ``./NAME=…``."""
    name, equals, _ = word.partition("=")
    return bool(equals) and name.isidentifier()


def parse_assignments(words: Sequence[str]) -> dict[str, Any]:
    """Values as YAML reads them: numbers, true, null, [lists]; a comma outside brackets makes a list, too.

    Raises:
        ValueError: a name that is given twice, or a value that is no YAML.
    """
    values: dict[str, Any] = {}
    for word in words:
        name, _, text = word.partition("=")
        if name in values:
            raise ValueError(f"{name} is given twice: {values[name]} and {text}")
        try:
            values[name] = _value(text)
        except yaml.YAMLError as error:
            raise ValueError(f"{word!r}: the value cannot be read: {error}") from error
    return values


def refuse_unknown(assignments: Mapping[str, Any], known: Sequence[str]) -> None:
    """A misspelt name is an error.

    Raises:
        ValueError: a name that is not ``known``.
    """
    unknown = sorted(assignments.keys() - set(known))
    if unknown:
        raise ValueError(f"unknown {', '.join(unknown)}; known: {', '.join(known) or 'none'}")


def _value(text: str) -> Any:
    if "," in text and not text.startswith(("[", "{", "'", '"')):
        return [_number(value) for value in yaml.safe_load(f"[{text}]")]
    return _number(yaml.safe_load(text))


def _number(value: Any) -> Any:
    """YAML 1.1 takes 2e-4 for a word; everyone else for a number."""
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value
