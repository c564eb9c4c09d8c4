"""Compare runs: an ablation table, Pareto plots, learning curves, worst patches, on one page.

PATH is a sweep's folder, a run's, a folder of runs, or runs at W&B (wandb:ENTITY/PROJECT[/GROUP]); several
are put together. Runs that differ in the seed alone are one row; patches=8 says how many squares of restored
images are shown.

  srlab report multirun/2026-11-21_10-00-00
  srlab report outputs/elan_light_x4/A outputs/elan_light_x4/B --out comparison
  srlab report multirun/2026-11-21_10-00-00 --baseline=n_share=0

Writes report.html, which opens from disk without a network, table.md, table.tex, table.csv, the figures as
SVG, PDF and PNG, and data.json.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from srlab.cli.arguments import integer_of, refuse_unknown

__all__ = ["add_arguments", "run"]

_FOLDER = "report"
_PATCHES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which runs, and where to."""
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="a sweep, a run, a folder of runs, or wandb:…"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where to write; default: report/ in the first PATH"
    )
    parser.add_argument(
        "--baseline",
        metavar="CELL",
        help="what differences are from: a row's number, a cell's name, a run's folder or values "
        "(--baseline=n_share=0); default: of a sweep the preset as it stands if it is among the cells, else "
        "the first row; of other runs the first PATH",
    )
    parser.add_argument("--title", help="heading of the page; default: the names of the paths")


def run(arguments: argparse.Namespace, assignments: dict[str, Any]) -> None:
    """Read, compare, write, and say where.

    Raises:
        ValueError: no runs, an unknown baseline or option.
        OSError: a folder that is not there, or cannot be written.
    """
    import logging
    import shlex

    from srlab.report import compare, read_runs, to_markdown, write_report
    from srlab.report.ablation import ablation_table

    # it tells of every glyph that a PDF gets
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    refuse_unknown(assignments, ("patches",))
    patches = integer_of(assignments, "patches", _PATCHES, minimum=0)
    folder = _folder(arguments)
    comparison = compare(read_runs(arguments.paths), baseline=arguments.baseline)
    page = write_report(
        comparison,
        folder,
        title=arguments.title or " + ".join(Path(path).name for path in arguments.paths),
        patches=patches,
        command=shlex.join(["srlab", *sys.argv[1:]]),
    )
    print(to_markdown(ablation_table(comparison)))
    for warning in comparison.warnings:
        print(f"note: {warning}")
    print(f"everything is in  {page.parent}\n  {page.name} opens in any browser")


def _folder(arguments: argparse.Namespace) -> Path:
    """Raises ValueError where the runs lie nowhere that a report could lie beside."""
    if arguments.out is not None:
        return arguments.out
    if arguments.paths[0].startswith("wandb:"):
        raise ValueError("runs at W&B have no folder: say where to write with --out FOLDER")
    return Path(arguments.paths[0]) / _FOLDER
