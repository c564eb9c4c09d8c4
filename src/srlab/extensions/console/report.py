"""Compare runs: an ablation table, Pareto plots, learning curves, worst patches, on one page.

PATH is a sweep's folder, a run's, a folder of runs, or runs at W&B (wandb:ENTITY/PROJECT[/GROUP]); several
are put together. Runs that differ in the seed alone are one row; patches=8 says how many squares of restored
images are shown.

  srlab report multirun/2026-11-21_10-00-00
  srlab report outputs/elan_light_x4/A outputs/elan_light_x4/B --out comparison
  srlab report multirun/2026-11-21_10-00-00 --baseline=n_share=0
  srlab report multirun/2026-11-21_10-00-00 --measure output=1280x720 threads=2

Latencies are each run's own unless --measure times all networks in one interleaved run of the latency lab,
with output=WIDTHxHEIGHT of the restored or size=HEIGHTxWIDTH of the low-resolution image (default: what the
runs measured), repeats=9, threads=, device=auto; its record, latency.json, is what --latency takes.

Writes report.html, which opens from disk without a network, table.md, table.tex, table.csv, the figures as
SVG, PDF and PNG, and data.json.
"""

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlab.extensions.console.arguments import integer_of, refuse_unknown
from srlab.extensions.console.progress import progress_line

if TYPE_CHECKING:
    from srlab.extensions.report import Comparison, LabLatencies

__all__ = ["add_arguments", "run"]

_FOLDER = "report"
_PATCHES = 8
_RECORD = "latency.json"
_MEASURING = ("size", "output", "repeats", "threads", "device")


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
    latency = parser.add_mutually_exclusive_group()
    latency.add_argument(
        "--measure",
        action="store_true",
        help="time the networks of all rows in one interleaved run before reporting",
    )
    latency.add_argument(
        "--latency", type=Path, metavar="RECORD", help="show the latencies that an earlier --measure recorded"
    )
    parser.add_argument("--title", help="heading of the page; default: the names of the paths")


def run(arguments: argparse.Namespace, assignments: dict[str, Any]) -> None:
    """Read, compare, write, and say where.

    Raises:
        ValueError: no runs, an unknown baseline or option, or nothing that can be measured.
        OSError: a folder that is not there, or cannot be written.
        KeyboardInterrupt: after Ctrl-C while measuring, once what was measured is recorded.
    """
    import logging

    from srlab.extensions.report import compare, read_runs, to_markdown, write_report
    from srlab.extensions.report.ablation import ablation_table

    # it tells of every glyph that a PDF gets
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    refuse_unknown(assignments, ("patches", *_MEASURING))
    if not arguments.measure and set(_MEASURING) & assignments.keys():
        raise ValueError(f"{', '.join(sorted(set(_MEASURING) & assignments.keys()))}= belong to --measure")
    patches = integer_of(assignments, "patches", _PATCHES, minimum=0)
    folder = _folder(arguments)
    runs = read_runs(arguments.paths)
    comparison = compare(runs, baseline=arguments.baseline)
    latencies = _latencies(arguments, assignments, comparison, folder / _RECORD)
    if latencies is not None:
        comparison = compare(runs, baseline=arguments.baseline, latencies=latencies)
    page = write_report(
        comparison,
        folder,
        title=arguments.title or " + ".join(Path(path).name for path in arguments.paths),
        patches=patches,
        command=_command(),
    )
    print(to_markdown(ablation_table(comparison)))
    for warning in comparison.warnings:
        print(f"note: {warning}")
    print(f"everything is in  {page.parent}\n  {page.name} opens in any browser")


def _latencies(
    arguments: argparse.Namespace, assignments: Mapping[str, Any], comparison: "Comparison", record: Path
) -> "LabLatencies | None":
    """Measured now, or recorded earlier; None where each run's own are shown."""
    from srlab.extensions.report import measure_latencies, read_latencies

    if arguments.latency is not None:
        return read_latencies(arguments.latency)
    if not arguments.measure:
        return None
    lr_size, output_size = _sizes(assignments)
    repeats = integer_of(assignments, "repeats", 9)
    threads = integer_of(assignments, "threads", 1) if "threads" in assignments else None
    with progress_line() as progress:
        return measure_latencies(
            comparison,
            record,
            output_size=output_size,
            lr_size=lr_size,
            repeats=repeats,
            threads=threads,
            device=str(assignments.get("device", "auto")),
            command=_command(),
            progress=progress,
        )


def _sizes(assignments: Mapping[str, Any]) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Height and width of the low-resolution image, or of the restored one; None for what was not given."""
    from srlab.extensions.lab.sizes import parse_sides

    if {"size", "output"} <= assignments.keys():
        raise ValueError("give size=HEIGHTxWIDTH of the LR image or output=WIDTHxHEIGHT, not both")
    if "size" in assignments:
        return parse_sides("size", assignments["size"], "180x320 (height x width of the LR image)"), None
    if "output" in assignments:
        example = "1280x720 (width x height of the restored image)"
        width, height = parse_sides("output", assignments["output"], example)
        return None, (height, width)
    return None, None


def _command() -> str:
    """What was typed."""
    return shlex.join(["srlab", *sys.argv[1:]])


def _folder(arguments: argparse.Namespace) -> Path:
    """Raises ValueError where the runs lie nowhere that a report could lie beside."""
    if arguments.out is not None:
        return arguments.out
    if arguments.paths[0].startswith("wandb:"):
        raise ValueError("runs at W&B have no folder: say where to write with --out FOLDER")
    return Path(arguments.paths[0]) / _FOLDER
