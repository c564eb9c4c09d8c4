"""Lists of keys in messages."""

from collections.abc import Sequence

__all__ = ["in_words"]

_NAMED_KEYS = 5


def in_words(keys: Sequence[str]) -> str:
    """The first few of a list, in words."""
    rest = len(keys) - _NAMED_KEYS
    return ", ".join(keys[:_NAMED_KEYS]) + (f" and {rest} more" if rest > 0 else "")
