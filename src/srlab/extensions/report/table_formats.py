"""The ablation table as Markdown, LaTeX and CSV."""

import csv
import io
from collections.abc import Iterable, Sequence

from srlab.extensions.report.ablation import AblationTable, Column, Estimate
from srlab.terminal.names import escape_markdown, one_line

__all__ = ["escape_latex", "shown_estimate", "to_csv", "to_latex", "to_markdown"]

_NOTHING = "–"
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "Δ": r"$\Delta$", "±": r"$\pm$", "−": r"$-$", "–": "--",
}  # fmt: skip


def shown_estimate(estimate: Estimate | None, column: Column) -> str:
    """``29.31 ± 0.02``, a latency as ``12.1 (11.8 to 12.9)``; a dash for nothing."""
    if estimate is None:
        return _NOTHING
    text = column.shown(estimate.mean)
    # a spread of costs that are the same for every seed says nothing; of scores it says much
    if estimate.std or (estimate.std is not None and column.is_score):
        text += f" ± {column.shown(estimate.std).lstrip('+')}"
    if estimate.low is not None and estimate.high is not None:
        text += f" ({column.shown(estimate.low)} to {column.shown(estimate.high)})"
    return text


def to_markdown(table: AblationTable) -> str:
    """A pipe table below its caption; best ``**bold**``, second best ``<u>underlined</u>``."""
    headings = ["#", *(each.label for each in table.parameters), "runs", *(c.heading for c in table.columns)]
    lines = [_pipes(map(escape_markdown, headings)), _pipes(_alignment(table))]
    for row in table.rows:
        marked = [
            _mark_markdown(shown_estimate(estimate, column), estimate)
            for estimate, column in zip(row.estimates, table.columns, strict=True)
        ]
        number = f"{row.configuration.number}{' (baseline)' if row.is_baseline else ''}"
        texts = map(escape_markdown, (number, *row.configuration.values, row.configuration.states))
        lines.append(_pipes([*texts, *marked]))
    return "\n".join([escape_markdown(table.caption), "", *lines]) + "\n"


def to_latex(table: AblationTable) -> str:
    r"""A ``table*`` with booktabs rules; needs ``\usepackage{booktabs}``."""
    left = "l" * (len(table.parameters) + 1)
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table*}[t]",
        "\\centering",
        f"\\caption{{{escape_latex(table.caption)}}}",
        f"\\begin{{tabular}}{{{left}c{'r' * len(table.columns)}}}",
        "\\toprule",
        _ampersands(
            ["\\#", *(escape_latex(each.label) for each in table.parameters), "runs"]
            + [escape_latex(column.heading) + _arrow(column) for column in table.columns]
        ),
        "\\midrule",
    ]
    for row in table.rows:
        texts = (str(row.configuration.number), *row.configuration.values, row.configuration.states)
        marked = [
            _mark_latex(escape_latex(shown_estimate(estimate, column)), estimate)
            for estimate, column in zip(row.estimates, table.columns, strict=True)
        ]
        lines.append(_ampersands([*map(escape_latex, texts), *marked]))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table*}"]) + "\n"


def to_csv(table: AblationTable) -> str:
    """Unrounded, in bytes, operations, milliseconds and dB as measured; marks in words."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    headings = ["row", "baseline", *(each.key for each in table.parameters), "runs", "finished"]
    headings += [f"{column.key} {part}".strip() for column in table.columns for part in _PARTS]
    writer.writerow([*headings, "states"])
    for row in table.rows:
        configuration = row.configuration
        values: list[object] = [configuration.number, int(row.is_baseline), *configuration.values]
        values += [len(configuration.runs), len(configuration.finished)]
        for estimate in row.estimates:
            values += _parts(estimate)
        writer.writerow([*values, configuration.states])
    return stream.getvalue()


def escape_latex(text: str) -> str:
    """Characters that LaTeX takes for commands, as text."""
    return "".join(_LATEX.get(character, character) for character in one_line(text))


_PARTS = ("", "std", "n", "p10", "p90", "mark")


def _parts(estimate: Estimate | None) -> list[object]:
    if estimate is None:
        return [""] * len(_PARTS)
    each = (estimate.mean, estimate.std, estimate.n, estimate.low, estimate.high, estimate.mark)
    return ["" if part is None else repr(part) if isinstance(part, float) else part for part in each]


def _alignment(table: AblationTable) -> list[str]:
    return [":--"] * (len(table.parameters) + 2) + ["--:"] * len(table.columns)


def _pipes(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _ampersands(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _arrow(column: Column) -> str:
    return {"higher": r" $\uparrow$", "lower": r" $\downarrow$", None: ""}[column.better]


def _mark_markdown(text: str, estimate: Estimate | None) -> str:
    mark = estimate and estimate.mark
    return f"**{text}**" if mark == "best" else f"<u>{text}</u>" if mark == "second" else text


def _mark_latex(text: str, estimate: Estimate | None) -> str:
    mark = estimate and estimate.mark
    return f"\\textbf{{{text}}}" if mark == "best" else f"\\underline{{{text}}}" if mark == "second" else text
