"""Names of files, images and runs as text: nothing in them is a command to a terminal or a table."""

import re

__all__ = ["escape_markdown", "one_line"]

# Underscores within a word are no markup (https://spec.commonmark.org/0.31.2/#emphasis-and-strong-emphasis).
_MARKUP = re.compile(r"[\\|*`\[\]<>#&$~]|(?<![^\W_])_|_(?![^\W_])")


def one_line(text: str) -> str:
    r"""Line breaks and other control characters as ``\n``, ``\x1b`` …; the rest as it is."""
    return "".join(character if _is_harmless(character) else _escape(character) for character in text)


def escape_markdown(text: str) -> str:
    """A name within a cell or a line of Markdown, GitHub's included, that shows as what it is."""
    return _MARKUP.sub(r"\\\g<0>", one_line(text))


def _is_harmless(character: str) -> bool:
    return character.isprintable() or character == " "


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
