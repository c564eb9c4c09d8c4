"""The ablation table and its formats: terminals, Markdown, LaTeX and CSV."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Literal

from srlab.extensions.report.comparison import Configuration
from srlab.extensions.report.parameters import Parameter
from srlab.terminal.names import escape_markdown, one_line
from srlab.terminal.tables import PlainTable, markdown_table
from srlab.terminal.tables import to_csv as csv_of

_ARROWS = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", None: ""}
_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "Δ": r"$\Delta$", "±": r"$\pm$", "−": r"$-$", "–": "--",
})  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """A number with its spread.

    Attributes:
        mean: over the runs, one each seed.
        std: sample standard deviation (n - 1); None for one run.
        n: number of runs; of rounds for what the lab measured.
        low: 10th percentile of a latency: of the lab's rounds, or the median of the runs' own; of a
            difference the lower end of its 95 % confidence interval.
        high: 90th percentile or upper end, in the same way.
    """

    mean: float
    std: float | None
    n: int
    low: float | None = None
    high: float | None = None
    mark: Literal["best", "second"] | None = None


@dataclass(frozen=True)
class Column:
    """One measure.

    Attributes:
        key: ``psnr/Set5``, ``params``, ``difference/Set5`` …
        better: where the best value lies; None for no order.
        divisor: of the shown number; estimates keep their own unit.
        digits: after the point, as shown.
        is_score: computed from restored images, unlike the network's costs.
        ends: what ``low`` and ``high`` are, for CSV.
    """

    key: str
    heading: str
    better: Literal["higher", "lower"] | None
    divisor: float = 1.0
    digits: int = 2
    signed: bool = False
    is_score: bool = False
    ends: tuple[str, str] = ("p10", "p90")

    def shown(self, value: float) -> str:
        """Rounded, in the unit of the heading."""
        text = f"{value / self.divisor:{'+' if self.signed else ''},.{self.digits}f}"
        return text.replace("-", "−")


@dataclass(frozen=True)
class Row:
    """One configuration; ``estimates`` has one entry for each column."""

    configuration: Configuration
    estimates: tuple[Estimate | None, ...]
    is_baseline: bool


@dataclass(frozen=True)
class AblationTable:
    """A notebook shows it as Markdown."""

    parameters: tuple[Parameter, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str

    @property
    def headings(self) -> list[str]:
        """Of all columns: the row's number, the parameters, the runs, the measures."""
        parameters = (each.label for each in self.parameters)
        return ["#", *parameters, "runs", *(column.heading for column in self.columns)]

    def _repr_markdown_(self) -> str:
        return to_markdown(self)


def shown_estimate(estimate: Estimate | None, column: Column) -> str:
    """``29.31 ± 0.02``, with percentiles or an interval ``12.1 (11.8 to 12.9)``; a dash for nothing."""
    if estimate is None:
        return "–"
    text = column.shown(estimate.mean)
    # costs are usually the same for every seed, which needs no ± 0; for scores that would be remarkable
    if estimate.std or (estimate.std is not None and column.is_score):
        text += f" ± {column.shown(estimate.std).lstrip('+')}"
    if estimate.low is not None and estimate.high is not None:
        text += f" ({column.shown(estimate.low)} to {column.shown(estimate.high)})"
    return text


def to_terminal(table: AblationTable) -> PlainTable:
    """Without its caption; the best of a column has an asterisk."""
    marks = {"best": "{} *", "second": "{}"}
    rows = [dict(zip(table.headings, each, strict=True)) for each in _cells(table, str, marks, " (baseline)")]
    text = table.headings[: len(table.parameters) + 2]
    caption = "* best of its column; the page and table.md explain the columns"
    return PlainTable(rows, text=text, caption=caption)


def to_markdown(table: AblationTable) -> str:
    """A pipe table below its caption; best ``**bold**``, second best ``<u>underlined</u>``."""
    headings = [escape_markdown(text) for text in table.headings]
    rows = _cells(table, escape_markdown, {"best": "**{}**", "second": "<u>{}</u>"}, " (baseline)")
    text = markdown_table(headings, rows, text=headings[: len(table.parameters) + 2])
    return f"{escape_markdown(table.caption)}\n\n{text}"


def to_latex(table: AblationTable) -> str:
    r"""A ``table*`` with booktabs rules; needs ``\usepackage{booktabs}``."""
    arrows = [*[""] * (len(table.parameters) + 2), *(_ARROWS[column.better] for column in table.columns)]
    headings = [_escape_latex(text) + arrow for text, arrow in zip(table.headings, arrows, strict=True)]
    rows = _cells(table, _escape_latex, {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}"})
    alignment = "l" * (len(table.parameters) + 1) + "c" + "r" * len(table.columns)
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table*}[t]",
        r"\centering",
        rf"\caption{{{_escape_latex(table.caption)}}}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        " & ".join(headings) + r" \\",
        r"\midrule",
        *(" & ".join(cells) + r" \\" for cells in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def to_csv(table: AblationTable) -> str:
    """Unrounded, in dB, operations, milliseconds and MiB as measured; marks in words."""
    rows: list[dict[str, object]] = []
    for row in table.rows:
        each = row.configuration
        cells: dict[str, object] = {"row": each.number, "baseline": int(row.is_baseline)}
        cells |= zip((parameter.key for parameter in table.parameters), each.values, strict=True)
        cells |= {"runs": len(each.runs), "finished": len(each.finished)}
        for column, estimate in zip(table.columns, row.estimates, strict=True):
            names = ("", "std", "n", *column.ends, "mark")
            parts = astuple(estimate) if estimate else [None] * len(names)
            cells |= zip((f"{column.key} {part}".strip() for part in names), parts, strict=True)
        rows.append({**cells, "states": each.states})
    return csv_of(rows)


def _cells(
    table: AblationTable, escape: Callable[[str], str], marks: Mapping[str, str], baseline: str = ""
) -> Iterator[list[str]]:
    """All rows as text; ``marks`` are formats of the best and the second best."""
    for row in table.rows:
        number = f"{row.configuration.number}{baseline if row.is_baseline else ''}"
        cells = [escape(text) for text in (number, *row.configuration.values, row.configuration.states)]
        for estimate, column in zip(row.estimates, table.columns, strict=True):
            text = escape(shown_estimate(estimate, column))
            cells.append(marks[estimate.mark].format(text) if estimate and estimate.mark else text)
        yield cells


def _escape_latex(text: str) -> str:
    return one_line(text).translate(_LATEX)
