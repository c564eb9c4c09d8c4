"""Progress of long work: a bar or a changing line on a terminal, elsewhere one line a minute."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

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
    if plain_console(stderr=True).is_terminal:
        yield from _with_bar(items, one_line(description), total)
        return
    started, is_due = time.monotonic(), OncePerInterval()
    for done, item in enumerate(items):
        if done and is_due():
            left = (time.monotonic() - started) / done * (total - done)
            log.info("%s: %d of %d, about %s left", one_line(description), done, total, duration(left))
        yield item


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """Yields a function that shows one line in place of the last, on standard error."""
    from rich.text import Text

    console = plain_console(stderr=True)
    if console.is_terminal:
        with console.status(Text("starting")) as status:
            yield lambda text: status.update(Text(one_line(text)))
        return
    is_due = OncePerInterval()

    def occasionally(text: str) -> None:
        if is_due():
            sys.stderr.write(f"{one_line(text)}\n")

    yield occasionally


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[float, str], None]]:
    """Yields a function of how many of ``total`` steps are done, parts of steps included, and a line of text.

    It draws a bar on a terminal; elsewhere the text is written once a minute. All on standard error.
    """
    console = plain_console(stderr=True)
    if not console.is_terminal:
        is_due = OncePerInterval()

        def occasionally(_done: float, text: str) -> None:
            if is_due():
                sys.stderr.write(f"{one_line(text)}\n")

        yield occasionally
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    text_column = TextColumn("{task.description}", markup=False)
    with Progress(*columns, text_column, console=console) as progress:
        task = progress.add_task("", total=total)
        yield lambda done, text: progress.update(task, completed=done, description=one_line(text))


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _with_bar(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=plain_console(stderr=True)) as progress:
        yield from progress.track(items, total=total, description=description)
