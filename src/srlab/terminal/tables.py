"""Tables for terminals of any width: cells are plain text, and figures are never broken."""

import csv
import io
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from srlab.terminal.names import escape_markdown, one_line

_ABSENT = "–"  # a cell without a value

# Columns of text are folded down to this width before rows are printed as blocks.
_LEAST_TEXT = 10
_UNBOUNDED = 10_000


def plain_console(*, stderr: bool = False, unbounded_width: int | None = None) -> Console:
    """A console without markup, emoji codes and highlighting.

    Args:
        stderr: of standard error instead of standard output.
        unbounded_width: least number of columns where neither a terminal nor ``COLUMNS`` sets one.
    """
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if unbounded_width and not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = max(console.width, unbounded_width)
    return console


class PlainTable(Table):
    """A table that never breaks a figure.

    On a narrow terminal, headings of figures are wrapped and columns of text folded; if that is not enough,
    each row becomes a block of lines, one for each column.

    Args:
        rows: cells by heading; those that a row lacks, or that are None, show a dash. Control characters are
            shown as escapes.
        text: headings of columns of text, flush left, whose cells may be folded; all others are figures.
        title: above, plain text; ``caption`` below.
    """

    def __init__(
        self, rows: Sequence[Mapping[str, object]], *, text: Iterable[str], title: str = "", caption: str = ""
    ) -> None:
        super().__init__(
            title=Text(title, "table.title") if title else None,
            caption=Text(caption, "table.caption") if caption else None,
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
            show_edge=False,
        )
        self._texts = frozenset(text)
        headings = list(dict.fromkeys(heading for row in rows for heading in row))
        for heading in headings:
            is_text = heading in self._texts
            self.add_column(
                Text(heading),
                justify="left" if is_text else "right",
                overflow="fold" if is_text else "ellipsis",
            )
        for row in rows:
            cells = (row.get(heading) for heading in headings)
            self.add_row(*(Text(_ABSENT if cell is None else one_line(str(cell))) for cell in cells))

    def to_markdown(self) -> str:
        """The same cells as a Markdown table, GitHub's included; names in them are no markup."""
        rows = zip(*(column.cells for column in self.columns), strict=True)
        cells = [[escape_markdown(str(cell)) for cell in row] for row in rows]
        return markdown_table([str(column.header) for column in self.columns], cells, text=self._texts)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Fit into what ``options`` allows, below an empty line."""
        yield Text("")
        for column in self.columns:
            column.width = None
        natural = [_widest([str(column.header), *map(str, column.cells)]) for column in self.columns]
        unbounded = options.update(max_width=_UNBOUNDED)
        beside = Measurement.get(console, unbounded, self).maximum - sum(natural)
        widths = self._fitted(natural, options.max_width - beside)
        if widths is None:
            yield from self._stacked(options.max_width)
            return
        for column, width in zip(self.columns, widths, strict=True):
            column.width = width
        yield from super().__rich_console__(console, options)

    def _fitted(self, natural: Sequence[int], room: int) -> list[int] | None:
        """Widths of the columns; None if figures would have to be broken."""
        least = [
            min(width, _LEAST_TEXT)
            if _is_text(column)
            else _widest([*str(column.header).split(), *map(str, column.cells)])  # whole words, whole cells
            for column, width in zip(self.columns, natural, strict=True)
        ]
        if sum(least) > room:
            return None
        widths = list(natural)
        while sum(widths) > room:
            shrinkable = [index for index, width in enumerate(widths) if width > least[index]]
            # headings before names, and the widest first
            widths[max(shrinkable, key=lambda each: (not _is_text(self.columns[each]), widths[each]))] -= 1
        return widths

    def _stacked(self, width: int) -> Iterator[Text]:
        """Rows as blocks, below the title and above the caption."""
        if self.title:
            yield Text(str(self.title), "table.title")
        rows = zip(*(column.cells for column in self.columns), strict=True)
        headings = [str(column.header) for column in self.columns]
        label_width = _widest(headings)
        for row in rows:
            yield Text("")
            for heading, cell in zip(headings, row, strict=True):
                is_wide = label_width + 2 + cell_len(str(cell)) > width
                between = "\n  " if is_wide else " " * (label_width - len(heading) + 2)
                yield Text(f"{heading}{between}{cell}", overflow="fold")
        if self.caption:
            yield Text(f"\n{self.caption}", "table.caption")


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, text: Container[str]) -> str:
    """A Markdown table of cells that are Markdown already; ``text`` are the headings that are flush left."""
    ruler = [":---" if heading in text else "---:" for heading in headings]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (headings, ruler, *rows))


def to_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """CSV of ``rows`` with every column that one of them has; empty where a value is absent or None."""
    columns = dict.fromkeys(name for row in rows for name in row)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _is_text(column: Column) -> bool:
    return column.justify == "left"


def _widest(texts: Iterable[str]) -> int:
    return max((cell_len(text) for text in texts), default=0)
