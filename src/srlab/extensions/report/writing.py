"""A report's folder: the page, the table in three formats, the figures, everything as JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlab import __version__
from srlab.atomic_files import atomic_write
from srlab.extensions.report.ablation import AblationTable, ablation_table, psnr_of
from srlab.extensions.report.comparison import Comparison
from srlab.extensions.report.curves import CURVES, configuration_curves
from srlab.extensions.report.drawings import inline_svg, save_figure
from srlab.extensions.report.image_differences import compare_with_baseline
from srlab.extensions.report.latencies import latency_source
from srlab.extensions.report.page_rendering import Drawing, PageContent, render_page, rerun_command
from srlab.extensions.report.pareto import COST_AXES, axis_title, pareto_points
from srlab.extensions.report.patches import select_patches
from srlab.extensions.report.plots import curves_figure, pareto_figure
from srlab.extensions.report.table_formats import to_csv, to_latex, to_markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["report_data", "write_report"]

# Of each figure: one for pages, one for LaTeX, one for slides.
_FIGURE_SUFFIXES = (".svg", ".pdf", ".png")


def write_report(
    comparison: Comparison, folder: Path, *, title: str, patches: int = 8, command: str | None = None
) -> Path:
    """Write everything below ``folder``; older files of these names are replaced.

    Args:
        comparison: of the runs.
        folder: made where it is not there.
        title: heading of the page.
        patches: squares of restored images to show; 0 for none.
        command: what made the report, to be said in it.

    Returns:
        The page.

    Raises:
        OSError: the folder cannot be written.
    """
    table = ablation_table(comparison)
    texts = {"table.md": to_markdown(table), "table.tex": to_latex(table), "table.csv": to_csv(table)}
    pareto, curves = _drawings(comparison, folder)
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
        with atomic_write(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    return folder / "report.html"


def report_data(comparison: Comparison, table: AblationTable) -> dict[str, Any]:
    """Numbers of the table, and every run with what it left, as JSON has them: no NaN, no infinity."""
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
                {**_fields_of(run), "seed": run.seed, "rerun": rerun_command(run)} for run in comparison.runs
            ],
        }
    )


def _fields_of(run: Any) -> dict[str, Any]:
    return {name: getattr(run, name) for name in run.__dataclass_fields__ if name != "derived"}


def _plain(value: Any) -> Any:
    """Dataclasses as mappings; numbers that JSON lacks as words."""
    if hasattr(value, "__dataclass_fields__"):
        return _plain(_fields_of(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def _drawings(comparison: Comparison, folder: Path) -> tuple[list[Drawing], list[Drawing]]:
    """Written as files, too. What no run has anything for is left out: the table shows that it is missing."""
    pareto = [
        _drawn(
            f"pareto-{name}",
            f"PSNR against {axis_title(comparison, axis)}",
            pareto_figure(comparison, against=name),
            folder,
        )
        for name, axis in COST_AXES.items()
        if pareto_points(comparison, axis)
    ]
    is_logged = any(configuration_curves(comparison, metric) for metric, _ in CURVES)
    curves = [_drawn("curves", "Learning curves", curves_figure(comparison), folder)] if is_logged else []
    return pareto, curves


def _drawn(name: str, title: str, figure: "Figure", folder: Path) -> Drawing:
    for suffix in _FIGURE_SUFFIXES:
        save_figure(figure, folder / f"{name}{suffix}")
    return Drawing(name=name, title=title, svg=inline_svg(figure, prefix=name, title=title))


def _facts(comparison: Comparison, command: str | None) -> Sequence[tuple[str, str]]:
    now = datetime.now(timezone.utc).isoformat(sep=" ", timespec="minutes")
    runs, finished = comparison.runs, [run for run in comparison.runs if run.finished]
    facts = [
        ("runs", f"{len(runs)}, of which {len(finished)} finished"),
        ("configurations", str(len(comparison.configurations))),
        *_verdict(comparison),
        ("latency", f"from {latency_source(comparison.latencies)}"),
        ("sweeps", ", ".join(dict.fromkeys(run.sweep for run in runs if run.sweep)) or "none"),
        ("made", f"{now.removesuffix('+00:00')} UTC by srlab {__version__}"),
    ]
    return [*facts, ("with", command)] if command else facts


def _verdict(comparison: Comparison) -> list[tuple[str, str]]:
    """What a reader looks for first; nothing where nothing has scores."""
    scored = [
        (each, psnr) for each in comparison.finished if (psnr := psnr_of(each, comparison.sets)) is not None
    ]
    if comparison.baseline is None or not scored:
        return []
    best, psnr = max(scored, key=lambda each: each[1].mean)
    return [
        ("highest PSNR", f"{psnr.mean:.2f} dB, row {best.number}: {best.label}"),
        ("baseline", f"row {comparison.baseline.number}: {comparison.baseline.label}"),
    ]
