"""A report's folder: the page, the table in three formats, the figures, and all numbers as JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlab import __version__
from srlab.extensions.report.ablation import ablation_table
from srlab.extensions.report.comparison import Comparison
from srlab.extensions.report.estimates import mean_score
from srlab.extensions.report.image_differences import compare_with_baseline
from srlab.extensions.report.latencies import latency_source
from srlab.extensions.report.page_rendering import Drawing, PageContent, render_page, rerun_command
from srlab.extensions.report.patches import select_patches
from srlab.extensions.report.plots import curves_figure, inline_svg, pareto_figure, save_figure
from srlab.extensions.report.series import COSTS, axis_title, curve_panels, pareto_points
from srlab.extensions.report.tables import AblationTable, to_csv, to_latex, to_markdown
from srlab.whole_files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["report_data", "write_report"]

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
    pareto = [
        _drawn(f"pareto-{cost}", f"PSNR against {axis_title(comparison, cost)}", figure, folder)
        for cost in COSTS
        if pareto_points(comparison, cost)
        for figure in [pareto_figure(comparison, against=cost)]
    ]
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
    data = json.dumps(report_data(comparison, table), indent=1, allow_nan=False) + "\n"
    for name, text in {**texts, "data.json": data, "report.html": render_page(content)}.items():
        with whole_file(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return folder / "report.html"


def report_data(comparison: Comparison, table: AblationTable) -> dict[str, Any]:
    """Numbers of the table, and every run with what it left; numbers that JSON lacks are words."""
    return _plain(
        {
            "srlab": __version__,
            "warnings": comparison.warnings,
            "baseline": comparison.baseline and comparison.baseline.number,
            "baseline_reason": comparison.baseline_reason,
            "latency_source": latency_source(comparison.latencies),
            "latency": None if comparison.latencies is None else dict(comparison.latencies.facts()),
            "parameters": [asdict(each) for each in comparison.parameters],
            "columns": [asdict(each) for each in table.columns],
            "configurations": [
                {
                    "number": row.configuration.number,
                    "label": row.configuration.label,
                    "values": row.configuration.values,
                    "runs": [run.source for run in row.configuration.runs],
                    "estimates": {
                        column.key: estimate and asdict(estimate)
                        for column, estimate in zip(table.columns, row.estimates, strict=True)
                    },
                }
                for row in table.rows
            ],
            "runs": [
                {**asdict(run), "seed": run.seed, "rerun": rerun_command(run)} for run in comparison.runs
            ],
        }
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | frozenset):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def _drawn(name: str, title: str, figure: "Figure", folder: Path) -> Drawing:
    """Saved in every format, too."""
    for suffix in _FIGURE_SUFFIXES:
        save_figure(figure, folder / f"{name}{suffix}")
    return Drawing(name=name, title=title, svg=inline_svg(figure, prefix=name, title=title))


def _facts(comparison: Comparison, command: str | None) -> Sequence[tuple[str, str]]:
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    runs, finished = comparison.runs, [run for run in comparison.runs if run.finished]
    facts = [
        ("runs", f"{len(runs)}, of which {len(finished)} finished"),
        ("configurations", str(len(comparison.configurations))),
        *_best_and_baseline(comparison),
        ("latency", f"from {latency_source(comparison.latencies)}"),
        ("sweeps", ", ".join(dict.fromkeys(run.sweep for run in runs if run.sweep)) or "none"),
        ("made", f"{now} by srlab {__version__}"),
    ]
    return [*facts, ("command", command)] if command else facts


def _best_and_baseline(comparison: Comparison) -> list[tuple[str, str]]:
    """Empty if nothing has scores."""
    scored = [
        (each, psnr)
        for each in comparison.finished
        if (psnr := mean_score(each, comparison.sets)) is not None
    ]
    if comparison.baseline is None or not scored:
        return []
    best, psnr = max(scored, key=lambda each: each[1].mean)
    return [
        ("highest PSNR", f"{psnr.mean:.2f} dB, row {best.number}: {best.label}"),
        ("baseline", f"row {comparison.baseline.number}: {comparison.baseline.label}"),
    ]
