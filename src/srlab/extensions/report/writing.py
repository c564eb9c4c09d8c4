"""A report's folder: the page, the table in three formats, the figures, and all numbers as JSON."""

from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlab import __version__
from srlab.atomic_files import atomic_write
from srlab.extensions.report.ablation import ablation_table
from srlab.extensions.report.comparison import Comparison
from srlab.extensions.report.estimates import mean_score
from srlab.extensions.report.image_differences import compare_with_baseline
from srlab.extensions.report.latencies import latency_source
from srlab.extensions.report.page_rendering import Drawing, PageContent, render_page, rerun_command
from srlab.extensions.report.patches import select_patches
from srlab.extensions.report.plots import curves_figure, inline_svg, pareto_figure, save_figure
from srlab.extensions.report.runs import Run
from srlab.extensions.report.series import COSTS, axis_title, curve_panels, pareto_points
from srlab.extensions.report.tables import AblationTable, to_csv, to_latex, to_markdown
from srlab.runs.records import write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_report"]

_FIGURE_SUFFIXES = (".svg", ".pdf", ".png")  # for pages, LaTeX and slides


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
    pareto = []
    for cost in COSTS:
        if pareto_points(comparison, cost):
            figure = pareto_figure(comparison, against=cost)
            heading = f"PSNR against {axis_title(comparison, cost)}"
            pareto.append(_drawn(f"pareto-{cost}", heading, figure, folder))
    has_curves = bool(curve_panels(comparison))
    curves = [_drawn("curves", "Learning curves", curves_figure(comparison), folder)] if has_curves else []
    content = PageContent(
        title=title,
        comparison=comparison,
        table=table,
        pareto=pareto,
        curves=curves,
        pairs=compare_with_baseline(comparison),
        patches=select_patches(comparison, count=patches),
        files=texts,
        facts=_facts(comparison, command),
    )
    write_json(folder / "data.json", _data(comparison, table))
    for name, text in {**texts, "report.html": render_page(content)}.items():
        with atomic_write(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return folder / "report.html"


def _drawn(name: str, title: str, figure: "Figure", folder: Path) -> Drawing:
    """For the page; also saved in every format."""
    for suffix in _FIGURE_SUFFIXES:
        save_figure(figure, folder / f"{name}{suffix}")
    return Drawing(name=name, title=title, svg=inline_svg(figure, prefix=name, title=title))


def _data(comparison: Comparison, table: AblationTable) -> dict[str, Any]:
    """Numbers of the table, and every run with what it left."""
    configurations = []
    for row in table.rows:
        each = row.configuration
        estimates = zip(table.columns, row.estimates, strict=True)
        configurations.append(
            {
                "number": each.number,
                "label": each.label,
                "values": each.values,
                "runs": [run.source for run in each.runs],
                "estimates": {column.key: one and asdict(one) for column, one in estimates},
            }
        )
    return {
        "srlab": __version__,
        "warnings": comparison.warnings,
        "baseline": comparison.baseline and comparison.baseline.number,
        "baseline_reason": comparison.baseline_reason,
        "latency_source": latency_source(comparison.latencies),
        "latency": comparison.latencies and comparison.latencies.facts(),
        "parameters": [asdict(each) for each in comparison.parameters],
        "columns": [asdict(each) for each in table.columns],
        "configurations": configurations,
        "runs": [_run(run) for run in comparison.runs],
    }


def _run(run: Run) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(run).items() if name != "derived"}
    return {**fields, "seed": run.seed, "rerun": rerun_command(run)}


def _facts(comparison: Comparison, command: str | None) -> list[tuple[str, str]]:
    runs, baseline = comparison.runs, comparison.baseline
    facts = {
        "runs": f"{len(runs)}, of which {sum(run.finished for run in runs)} finished",
        "configurations": str(len(comparison.configurations)),
    }
    scored = [
        (psnr.mean, each) for each in comparison.finished if (psnr := mean_score(each, comparison.sets))
    ]
    if baseline is not None and scored:
        psnr, best = max(scored, key=lambda each: each[0])
        facts["highest PSNR"] = f"{psnr:.2f} dB, row {best.number}: {best.label}"
        facts["baseline"] = f"row {baseline.number}: {baseline.label}"
    now = datetime.now(timezone.utc)
    facts |= {
        "latency": f"from {latency_source(comparison.latencies)}",
        "sweeps": ", ".join(dict.fromkeys(run.sweep for run in runs if run.sweep)) or "none",
        "made": f"{now:%Y-%m-%d %H:%M} UTC by srlab {__version__}",
    }
    return [*facts.items(), *([("command", command)] if command else [])]
