"""A report's folder: the page, the table in three formats, the figures, and all numbers as JSON."""

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from srlab import __version__
from srlab.atomic_files import atomic_write
from srlab.extensions.report.ablation import ablation_table
from srlab.extensions.report.comparison import Comparison, PairComparison, compare_with_baseline
from srlab.extensions.report.curves import curve_panels, curves_figure
from srlab.extensions.report.drawing import SERIES, inline_svg, save_figure
from srlab.extensions.report.latencies import latency_source
from srlab.extensions.report.parameters import differing_keys
from srlab.extensions.report.pareto import COSTS, axis_title, pareto_figure, pareto_points
from srlab.extensions.report.patches import select_patches
from srlab.extensions.report.runs import Run
from srlab.extensions.report.tables import (
    AblationTable,
    Estimate,
    shown_estimate,
    to_csv,
    to_latex,
    to_markdown,
)
from srlab.runs.records import write_json
from srlab.terminal.command_lines import typed_override

_FIGURE_SUFFIXES = (".svg", ".pdf", ".png")  # for pages, LaTeX and slides
_LISTED_IMAGES = 40  # of a pair: the largest gains and the largest losses


def write_report(
    comparison: Comparison, folder: Path, *, title: str, patches: int = 8, command: str | None = None
) -> Path:
    """Write everything below ``folder``; older files of these names are replaced.

    Args:
        comparison: of the runs.
        folder: created if it does not exist.
        title: heading of the page.
        patches: number of squares of restored images to show.
        command: shown as what made the report.

    Returns:
        The page.

    Raises:
        OSError: the folder cannot be written.
    """
    table = ablation_table(comparison)
    texts = {"table.md": to_markdown(table), "table.tex": to_latex(table), "table.csv": to_csv(table)}
    pareto, curves = [], []
    for cost in COSTS:
        if pareto_points(comparison, cost):
            heading = f"PSNR against {axis_title(comparison, cost)}"
            pareto.append(_drawn(f"pareto-{cost}", heading, pareto_figure(comparison, against=cost), folder))
    if curve_panels(comparison):
        curves.append(_drawn("curves", "Learning curves", curves_figure(comparison), folder))
    page = _page(
        title=title,
        comparison=comparison,
        table=table,
        pareto=pareto,
        curves=curves,
        pairs=compare_with_baseline(comparison),
        patches=select_patches(comparison, count=patches),
        files=texts,
        facts=_facts(comparison, command),
        latency_source=latency_source(comparison.latencies),
    )
    write_json(folder / "data.json", _data(comparison, table))
    for name, text in {**texts, "report.html": page}.items():
        with atomic_write(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return folder / "report.html"


def _drawn(name: str, title: str, figure: Figure, folder: Path) -> dict[str, str]:
    """For the page; also saved in every format."""
    for suffix in _FIGURE_SUFFIXES:
        save_figure(figure, folder / f"{name}{suffix}")
    return {"name": name, "title": title, "svg": inline_svg(figure, prefix=name, title=title)}


def _page(**content: Any) -> str:
    """HTML with styles, script and pictures inside, so that it needs no network."""
    # everything that comes from a run is escaped; only our own files and drawings are markup
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        db=lambda value: f"{value:+.2f}".replace("-", "−"), exact=_exact, markup=Markup
    )
    environment.globals.update(
        bars=_bars,
        differing_keys=differing_keys,
        rerun_command=_rerun_command,
        series=len(SERIES),
        shown_estimate=shown_estimate,
    )
    folder = Path(__file__).parent / "page"
    parts = {kind: (folder / f"page.{kind}").read_text() for kind in ("html", "css", "js")}
    content |= {"style": Markup(parts["css"]), "script": Markup(parts["js"])}
    return environment.from_string(parts["html"]).render(content)


def _rerun_command(run: Run) -> str | None:
    """Command that trains it again; None for cells that have not started."""
    started = run.state != "not started"
    return f"python train.py {typed_override('rerun', run.source)}" if started else None


def _exact(estimate: Estimate | None) -> str:
    if estimate is None:
        return "not measured"
    std = "" if estimate.std is None else f" ± {estimate.std:.4g}"
    ends = "" if None in (estimate.low, estimate.high) else f", {estimate.low:.4g} to {estimate.high:.4g}"
    return f"{estimate.mean:.10g}{std}{ends}, n = {estimate.n}"


def _bars(pair: PairComparison) -> list[Any]:
    """Listed images and the widths of their bars, in percent of the largest difference on one side."""
    largest = max((abs(each.difference) for each in pair.images), default=0.0)
    unit = largest if 0 < largest < float("inf") else 1.0
    half = _LISTED_IMAGES // 2
    listed = pair.images
    if len(listed) > _LISTED_IMAGES:
        listed = (*listed[:half], *listed[-half:])
    return [(each, min(1.0, abs(each.difference) / unit) * 50) for each in listed]


def _data(comparison: Comparison, table: AblationTable) -> dict[str, Any]:
    """Numbers of the table, and every run with what it left."""
    keys = [column.key for column in table.columns]
    return {
        "srlab": __version__,
        "warnings": comparison.warnings,
        "baseline": comparison.baseline and comparison.baseline.number,
        "baseline_reason": comparison.baseline_reason,
        "latency_source": latency_source(comparison.latencies),
        "latency": comparison.latencies and comparison.latencies.facts,
        "parameters": comparison.parameters,
        "columns": table.columns,
        "configurations": [
            {
                "number": row.configuration.number,
                "label": row.configuration.label,
                "values": row.configuration.values,
                "runs": [run.source for run in row.configuration.runs],
                "estimates": dict(zip(keys, row.estimates, strict=True)),
            }
            for row in table.rows
        ],
        "runs": [
            {**vars(run), "derived": sorted(run.derived), "seed": run.seed, "rerun": _rerun_command(run)}
            for run in comparison.runs
        ],
    }


def _facts(comparison: Comparison, command: str | None) -> list[tuple[str, str]]:
    runs, baseline = comparison.runs, comparison.baseline
    facts = {
        "runs": f"{len(runs)}, of which {sum(run.finished for run in runs)} finished",
        "configurations": str(len(comparison.configurations)),
        "baseline": baseline and f"row {baseline.number}: {baseline.label}",
        "latency": f"from {latency_source(comparison.latencies)}",
        "sweeps": ", ".join(dict.fromkeys(run.sweep for run in runs if run.sweep)) or "none",
        "made": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC by srlab {__version__}",
        "command": command,
    }
    return [(name, fact) for name, fact in facts.items() if fact]
