"""Names of files, images and runs as text that is safe to print, to format and to use in file names."""

import re
from collections.abc import Sequence

# Underscores within a word are no markup (https://spec.commonmark.org/0.31.2/#emphasis-and-strong-emphasis).
_MARKUP = re.compile(r"[\\|*`\[\]<>#&$~]|(?<![^\W_])_|_(?![^\W_])")


def one_line(text: str) -> str:
    r"""Line breaks and other control characters as ``\n``, ``\x1b`` …; everything else unchanged."""
    return "".join(
        each if each.isprintable() or each == " " else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def escape_markdown(text: str) -> str:
    """A name that a cell or line of Markdown, GitHub's included, shows unchanged."""
    return _MARKUP.sub(r"\\\g<0>", one_line(text))


def file_safe(text: str) -> str:
    """A part of a file name: characters other than letters, digits and ``-_.+`` become ``_``."""
    return re.sub(r"[^\w.+-]", "_", text)


def some(names: Sequence[object], separator: str = ", ", most: int = 5) -> str:
    """The first names in one line, and how many more there are."""
    left = len(names) - most
    return separator.join(map(str, names[:most])) + (f" and {left} more" if left > 0 else "")
