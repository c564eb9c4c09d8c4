"""The page: everything that a report shows, in one HTML file that needs no network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from srlab.extensions.report.comparison import Comparison
from srlab.extensions.report.estimates import Estimate
from srlab.extensions.report.image_differences import PairComparison
from srlab.extensions.report.latencies import latency_source
from srlab.extensions.report.parameters import differing_keys
from srlab.extensions.report.patches import PatchSelection
from srlab.extensions.report.plots import SERIES
from srlab.extensions.report.runs import Run
from srlab.extensions.report.tables import AblationTable, shown_estimate
from srlab.terminal.command_lines import shell_path

__all__ = ["Drawing", "PageContent", "render_page", "rerun_command"]

_LISTED_IMAGES = 40  # of a pair: the largest gains and the largest losses


@dataclass(frozen=True)
class Drawing:
    """A figure as the page holds it."""

    name: str
    title: str
    svg: str


@dataclass(frozen=True)
class PageContent:
    """What :func:`render_page` lays out; ``files`` are the table in other formats, by name."""

    title: str
    comparison: Comparison
    table: AblationTable
    pareto: Sequence[Drawing]
    curves: Sequence[Drawing]
    pairs: Sequence[PairComparison]
    patches: PatchSelection
    files: Mapping[str, str]
    facts: Sequence[tuple[str, str]]


def render_page(content: PageContent) -> str:
    """HTML with styles, script and pictures inside."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    # everything that comes from a run is escaped; only our own files and drawings are markup
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "db": lambda value: f"{value:+.2f}".replace("-", "−"),
        "exact": _exact,
        "markup": Markup,
    }
    folder = files("srlab.extensions.report") / "page"
    return environment.from_string((folder / "page.html").read_text()).render(
        content=content,
        comparison=content.comparison,
        table=content.table,
        style=Markup((folder / "page.css").read_text()),
        script=Markup((folder / "page.js").read_text()),
        latency_source=latency_source(content.comparison.latencies),
        series=len(SERIES),
        bars=_bars,
        differing_keys=differing_keys,
        rerun_command=rerun_command,
        shown_estimate=shown_estimate,
    )


def rerun_command(run: Run) -> str | None:
    """Command that trains it again; None for runs at W&B and for cells that have not started."""
    if run.source.startswith("wandb:") or run.state == "not started":
        return None
    return f"python train.py rerun={shell_path(run.source)}"


def _exact(estimate: Estimate | None) -> str:
    if estimate is None:
        return "not measured"
    std = "" if estimate.std is None else f" ± {estimate.std:.4g}"
    return f"{estimate.mean:.10g}{std}, n = {estimate.n}"


def _bars(pair: PairComparison) -> list[Any]:
    """Listed images and the widths of their bars, in percent of the largest difference on one side."""
    largest = max((abs(each.difference) for each in pair.images), default=0.0)
    unit = largest if 0 < largest < float("inf") else 1.0
    half = _LISTED_IMAGES // 2
    few = len(pair.images) <= _LISTED_IMAGES
    listed = pair.images if few else (*pair.images[:half], *pair.images[-half:])
    return [(each, min(1.0, abs(each.difference) / unit) * 50) for each in listed]
