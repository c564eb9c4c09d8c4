"""Commands to paste: values quoted for Hydra's grammar, words quoted for a POSIX shell."""

import re
import shlex
from collections.abc import Mapping, Sequence

# Strings that Hydra's grammar reads as strings without quotes: neither a number, null, a boolean, a sweep nor
# a list (https://hydra.cc/docs/advanced/override_grammar/basic). A leading dot may begin a number.
_PLAIN = re.compile(r"(?:\.{0,2}/|[A-Za-z_])[A-Za-z0-9_./+-]*")
_WORDS_OF_THE_GRAMMAR = frozenset({"null", "true", "false", "nan", "inf"})


def override(key: str, value: object) -> str:
    r"""``KEY=VALUE`` that makes Hydra set ``key`` to exactly ``value``.

    Strings that Hydra would read as something else are quoted; within quotes, backslashes before a quote are
    doubled and others are not. ``${`` is escaped, since OmegaConf would resolve it.

    Args:
        key: dotted, perhaps with a ``+`` before it.
        value: a string or path, a number, a boolean, None, or a list of these.
    """
    return f"{key}={_hydra_value(value)}"


def typed_override(key: str, value: object) -> str:
    """:func:`override`, quoted for the shell as well."""
    return shlex.quote(override(key, value))


def command(program: Sequence[str], overrides: Mapping[str, object]) -> str:
    """A shell command that runs ``program``, such as ``("python", "train.py")``, with these overrides."""
    return shlex.join([*program, *(override(key, value) for key, value in overrides.items())])


def shell_path(path: object) -> str:
    """A path as an argument of ``srlab VERB``, which would read ``-…`` as a flag."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def _hydra_value(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_hydra_value, value))}]"
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS_OF_THE_GRAMMAR:
        return text
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    text = re.sub(r'(\\*)"', r'\1\1\\"', text)
    text = re.sub(r"(\\+)$", r"\1\1", text)
    return f'"{text}"'  # the shell's own quotes are single ones
