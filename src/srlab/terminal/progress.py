"""Progress of long work: a bar or a changing line on a terminal, elsewhere one line a minute."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from srlab.terminal.names import one_line
from srlab.terminal.tables import plain_console

log = logging.getLogger(__name__)

#: Seconds between two lines.
INTERVAL_S = 60.0

Item = TypeVar("Item")


class OncePerInterval:
    """Decides when the next line is due; the first one an interval after the start."""

    def __init__(self) -> None:
        self._due = time.monotonic() + INTERVAL_S

    def __call__(self) -> bool:
        """True at most once in each interval."""
        now = time.monotonic()
        if now < self._due:
            return False
        self._due = now + INTERVAL_S
        return True


def tracked(items: Iterable[Item], description: str, *, total: int, shown: bool = True) -> Iterator[Item]:
    """Yield ``items`` and show on standard error, or in the log, how many of ``total`` are done.

    ``shown=False`` shows nothing.
    """
    if not shown:
        yield from items
        return
    console, description = plain_console(stderr=True), one_line(description)
    if console.is_terminal:
        with _bar(console, is_text_first=True) as progress:
            yield from progress.track(items, total=total, description=description)
        return
    started, is_due = time.monotonic(), OncePerInterval()
    for done, item in enumerate(items):
        if done and is_due():
            left = (time.monotonic() - started) / done * (total - done)
            log.info("%s: %d of %d, about %s left", description, done, total, duration(left))
        yield item


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """Yields a function that shows one line in place of the last, on standard error."""
    console = plain_console(stderr=True)
    if not console.is_terminal:
        yield _occasional_lines()
        return
    with console.status(Text("starting")) as status:
        yield lambda text: status.update(Text(one_line(text)))


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[float, str], None]]:
    """Yields a function of how many of ``total`` steps are done, parts of steps included, and a line of text.

    It draws a bar on a terminal; elsewhere the text is written once a minute. All on standard error.
    """
    console = plain_console(stderr=True)
    if not console.is_terminal:
        write = _occasional_lines()
        yield lambda _done, text: write(text)
        return
    with _bar(console, is_text_first=False) as progress:
        task = progress.add_task("", total=total)
        yield lambda done, text: progress.update(task, completed=done, description=one_line(text))


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _occasional_lines() -> Callable[[str], None]:
    """A function that writes a line to standard error if one is due."""
    is_due = OncePerInterval()

    def write(text: str) -> None:
        if is_due():
            sys.stderr.write(f"{one_line(text)}\n")

    return write


def _bar(console: Console, *, is_text_first: bool) -> Progress:
    text = TextColumn("{task.description}", markup=False)
    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*((text, *columns) if is_text_first else (*columns, text)), console=console)
