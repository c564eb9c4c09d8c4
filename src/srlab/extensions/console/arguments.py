"""``NAME=VALUE`` on the command line of a verb."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

__all__ = [
    "command_line",
    "integer_of",
    "is_assignment",
    "parse_assignments",
    "refuse_unknown",
    "values_of",
    "words_of",
]

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


def values_of(assignments: Mapping[str, Any], name: str, default: Any) -> list[Any]:
    """What ``name`` was set to, as a list whether or not it was one; ``default`` if it was not set.

    Raises:
        ValueError: a value is missing; also if there is none and the default is None.
    """
    values = _as_list(assignments.get(name, default))
    if not values or None in values:
        raise ValueError(f"{name}= needs a value")
    return values


def words_of(assignments: Mapping[str, Any], name: str, default: str | None) -> list[str]:
    """``values_of`` as they were written."""
    return [_word(value) for value in values_of(assignments, name, default)]


def integer_of(assignments: Mapping[str, Any], name: str, default: int, *, minimum: int = 1) -> int:
    """What ``name`` was set to.

    Raises:
        ValueError: no integer, or one below ``minimum``.
    """
    from srlab.models.network import require_integer

    return require_integer(name, assignments.get(name, default), minimum=minimum)


def command_line(verb: str, assignments: Mapping[str, Any], flags: Sequence[str]) -> str:
    """What a user would type to have the verb run so again."""
    words = [f"{name}={','.join(map(_word, _as_list(value)))}" for name, value in assignments.items()]
    return shlex.join(["srlab", verb, *words, *flags])


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def _word(value: object) -> str:
    """As YAML has it."""
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def _value(text: str) -> Any:
    if "," in text and not text.startswith(("[", "{", "'", '"')):
        return [_number(value) for value in yaml.safe_load(f"[{text}]")]
    return _number(yaml.safe_load(text))


def _number(value: Any) -> Any:
    """YAML 1.1 takes 2e-4 for a word; everyone else for a number."""
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value
