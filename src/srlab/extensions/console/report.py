"""Compare runs: an ablation table, Pareto plots, learning curves, worst patches, on one page.

PATH is a sweep's folder, a run's, or a folder of runs; several are combined. Runs that differ in the seed
alone are one row.

  srlab report multirun/2026-11-21_10-00-00
  srlab report outputs/elan_light_x4/A outputs/elan_light_x4/B --out comparison
  srlab report multirun/2026-11-21_10-00-00 --baseline n_share=0
  srlab report multirun/2026-11-21_10-00-00 --measure --output 1280x720 --threads 2

Latencies are each run's own unless --measure times all networks in one interleaved run of the latency lab;
its record, latency.json, is what --latency reads.

Writes report.html, which opens from disk without a network, table.md, table.tex, table.csv, the figures as
SVG, PDF and PNG, and data.json.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from srlab.extensions.console.flags import add_size_flags, integer

if TYPE_CHECKING:
    from srlab.extensions.report import Comparison, LabLatencies

_RECORD = "latency.json"
_WIDTH = 240  # columns where the output is not a terminal
_MEASURING = ("size", "output", "rounds", "threads", "device")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add runs, baseline, latencies and destination."""
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help="a sweep, a run, or a folder of runs")
    add("--out", type=Path, metavar="FOLDER", help="where to write; default: report/ in the first PATH")
    add(
        "--baseline",
        metavar="CELL",
        help="what differences are from: a row's number, a cell's name, a run's folder or values "
        "(--baseline n_share=0); default: of a sweep the unchanged preset if it is among the cells, else "
        "the first row; of other runs the first PATH",
    )
    add(
        "--group",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="also show differences of these images by themselves, and of all others; FILE has a name in "
        "each line, as summary.json has it (bsds/198023); may be repeated",
    )
    add("--title", help="heading of the page; default: the names of the paths")
    add("--patches", type=integer(0), default=8, help="squares of restored images on it; default: 8")
    latency = parser.add_mutually_exclusive_group().add_argument
    latency("--measure", action="store_true", help="time all rows' networks in one interleaved run first")
    latency(
        "--latency", type=Path, metavar="RECORD", help="show latencies that an earlier --measure recorded"
    )
    measuring = parser.add_argument_group("with --measure")
    add_size_flags(measuring, default="what the runs measured")
    measuring.add_argument("--rounds", type=integer(1), help="default: 9")
    measuring.add_argument("--threads", type=integer(1), help="of the CPU; default: all")
    measuring.add_argument("--device", help="cpu, cuda, cuda:1 or auto (default)")


def run(arguments: argparse.Namespace) -> None:
    """Read, compare, write.

    Raises:
        ValueError: no runs, an unknown baseline or image of a group, flags without effect, or nothing that
            can be measured.
        OSError: a folder does not exist or cannot be written.
        KeyboardInterrupt: Ctrl-C while measuring; the rounds that were finished are recorded.
    """
    import logging

    from srlab.extensions.report import compare, read_runs, write_report
    from srlab.extensions.report.ablation import ablation_table
    from srlab.extensions.report.tables import to_terminal
    from srlab.terminal.tables import plain_console

    # it logs every glyph that it puts into a PDF
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    idle = [f"--{name}" for name in _MEASURING if getattr(arguments, name) is not None]
    if idle and not arguments.measure:
        raise ValueError(f"{', '.join(idle)} need{'s' if len(idle) == 1 else ''} --measure")
    folder = arguments.out or Path(arguments.paths[0]) / "report"
    runs = read_runs(arguments.paths)
    chosen = {"baseline": arguments.baseline, "groups": dict(map(_group, arguments.group))}
    comparison = compare(runs, **chosen)
    latencies = _latencies(arguments, comparison, folder / _RECORD)
    if latencies is not None:
        comparison = compare(runs, **chosen, latencies=latencies)
    title = arguments.title or " + ".join(Path(path).name for path in arguments.paths)
    page = write_report(comparison, folder, title=title, patches=arguments.patches, command=arguments.command)
    plain_console(unbounded_width=_WIDTH).print(to_terminal(ablation_table(comparison)))
    for warning in comparison.warnings:
        print(f"note: {warning}")
    print(f"wrote {page}, which any browser opens; tables, figures and data.json are beside it")


def _group(given: str) -> tuple[str, list[str]]:
    name, _, file = given.partition("=")
    if not name or not file:
        raise ValueError(f"--group {given}: give NAME=FILE, such as repeated=repeated.txt")
    names = Path(file).read_text(encoding="utf-8").split("\n")
    return name, [line.strip() for line in names if line.strip()]


def _latencies(
    arguments: argparse.Namespace, comparison: "Comparison", record: Path
) -> "LabLatencies | None":
    """Measured now or recorded earlier; None where each run's own are shown."""
    from srlab.extensions.report import measure_latencies, read_latencies
    from srlab.terminal.progress import progress_line

    if arguments.latency is not None:
        return read_latencies(arguments.latency)
    if not arguments.measure:
        return None
    sizes = arguments.size or arguments.output or [None]
    if len(sizes) > 1:
        raise ValueError("a report measures one size")
    with progress_line() as progress:
        return measure_latencies(
            comparison,
            record,
            output_size=sizes[0] if arguments.output else None,
            lr_size=sizes[0] if arguments.size else None,
            repeats=arguments.rounds or 9,
            threads=arguments.threads,
            device=arguments.device or "auto",
            command=arguments.command,
            progress=progress,
        )
