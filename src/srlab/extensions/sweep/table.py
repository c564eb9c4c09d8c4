"""How the cells of a sweep stand, in one table."""

from collections.abc import Sequence

from srlab.extensions.sweep.records import Cell, Sweep, short_keys

__all__ = ["describe"]

_HEAD = ("cell", "state", "val/psnr", "exit", "folder")


def describe(sweep: Sweep, overrides: Sequence[Sequence[str]], cells: Sequence[Cell | None]) -> str:
    """One line a cell, then what failed cells printed last.

    Args:
        sweep: whose they are.
        overrides: of each cell.
        cells: their records, None for those that never began.
    """
    labels = short_keys(list(sweep.swept))
    rows: list[tuple[str, ...]] = [_HEAD]
    for own, cell in zip(overrides, cells, strict=True):
        values = dict(line.split("=", 1) for line in own if line.partition("=")[0] in labels)
        name = (
            " ".join(f"{labels[key]}={values[key]}" for key in sweep.swept if key in values) or "the only one"
        )
        rows.append(_row(sweep, name, cell))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join(["", *lines, *_complaints(cells), ""])


def _row(sweep: Sweep, name: str, cell: Cell | None) -> tuple[str, ...]:
    if cell is None:
        return name, "not begun", "", "", ""
    objective = "" if cell.objective is None else f"{cell.objective:.4f}"
    status = "" if cell.exit_status is None else str(cell.exit_status)
    return name, cell.state.replace("_", " "), objective, status, str(sweep.folder / cell.name)


def _complaints(cells: Sequence[Cell | None]) -> list[str]:
    lines = []
    for cell in cells:
        if cell is not None and cell.state == "failed":
            lines += ["", f"{cell.name} failed; it printed last:", *_indented(cell.message or "nothing")]
    return lines


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]
