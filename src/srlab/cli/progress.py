"""What a verb is at, on the terminal alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["progress_line"]


@contextmanager
def progress_line() -> Iterator[Any]:
    """Takes one line at a time, each in place of the last; says nothing where nobody watches."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _text: None
        return
    with console.status("starting") as status:
        yield status.update
