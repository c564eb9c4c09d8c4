"""The catalogue as tables."""

from collections.abc import Callable, Iterable
from pathlib import Path

from rich.table import Column, Table

from srlab.extensions.downloads.catalogue import RemoteFile, data_sets
from srlab.extensions.downloads.sets import is_there as set_is_there
from srlab.terminal.tables import plain_console

_WIDTH = 140  # columns where the output is not a terminal


def print_files(entries: Iterable[RemoteFile], *, is_there: Callable[[RemoteFile], bool]) -> None:
    """Name, size, terms, makers and state of each file."""
    table = Table(_name_column(), "what", "made by", "MB", "terms", "checksum", "here", box=None)
    for each in entries:
        checksum = "known" if each.digest else "recorded at first download"
        size = f"{each.size / 1e6:.1f}" if each.size else "?"
        here = "yes" if is_there(each) else "no"
        table.add_row(each.name, each.what, each.made_by, size, each.terms, checksum, here)
    plain_console(unbounded_width=_WIDTH).print(table)


def print_sets(root: Path) -> None:
    """Name, contents, terms and state of each data set."""
    table = Table(_name_column(), "what", "MB", "terms", "here", box=None)
    for name, each in data_sets().items():
        sizes = [archive.size for archive in each.archives]
        size = f"{sum(known for known in sizes if known) / 1e6:.0f}" if sizes and all(sizes) else "?"
        what = each.ask or "; ".join(archive.what for archive in each.archives)
        terms = "; ".join(dict.fromkeys(archive.terms for archive in each.archives)) or "on request"
        table.add_row(name, what, size, terms, "yes" if set_is_there(name, root) else "no")
    plain_console(unbounded_width=_WIDTH).print(table)


def _name_column() -> Column:
    """Never cut: it is what the user types."""
    return Column("name", no_wrap=True)
