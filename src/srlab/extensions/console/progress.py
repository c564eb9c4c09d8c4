"""What a verb is doing: a line that changes on a terminal, elsewhere one line a minute."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_line"]


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """Yields a function that shows one line in place of the last, on standard error."""
    from rich.text import Text

    from srlab.terminal.names import one_line
    from srlab.terminal.progress import OncePerInterval
    from srlab.terminal.tables import plain_console

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
