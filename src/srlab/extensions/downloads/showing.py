"""Progress of a download on the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from srlab.extensions.downloads.transfer import Report
from srlab.terminal.progress import progress_bar


@contextmanager
def shown() -> Iterator[Report]:
    """Yields a function that :func:`srlab.extensions.downloads.transfer.fetch` reports to.

    A bar on a terminal, a line a minute elsewhere, on standard error.
    """
    with progress_bar(total=1) as show:

        def report(done: int, total: int | None, name: str) -> None:
            """Bytes so far and in all."""
            amount = (
                f"{done / 2**20:.1f} MiB"
                if total is None
                else f"{done / 2**20:.1f} of {total / 2**20:.1f} MiB"
            )
            show(done / total if total else 0, f"{name}: {amount}")

        yield report
