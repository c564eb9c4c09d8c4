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
from srlab.extensions.report.runs import FINISHED, Run
from srlab.extensions.report.tables import AblationTable, Row, shown_estimate
from srlab.terminal.command_lines import shell_path

__all__ = ["Drawing", "PageContent", "render_page", "rerun_command"]

_LISTED_IMAGES = 40  # of a pair: the largest gains and the largest losses
_LISTED_DIFFERENCES = 60  # keys that two configurations differ in


@dataclass(frozen=True)
class Drawing:
    """A figure as the page holds it."""

    name: str
    title: str
    svg: str


@dataclass(frozen=True)
class PageContent:
    """What :func:`render_page` lays out.

    Attributes:
        files: contents of the table in other formats, by name.
        facts: name and value pairs about the report itself.
    """

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

    folder = files("srlab.extensions.report") / "page"
    # everything that comes from a run is escaped; only our own files and drawings are markup
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["db"] = lambda value: f"{value:+.2f}".replace("-", "−")
    comparison, latencies = content.comparison, content.comparison.latencies
    groups = {"pareto": content.pareto, "curves": content.curves}
    return environment.from_string((folder / "page.html").read_text()).render(
        content=content,
        comparison=comparison,
        style=Markup((folder / "page.css").read_text()),
        script=Markup((folder / "page.js").read_text()),
        drawings={
            kind: [(each.name, each.title, Markup(each.svg)) for each in group]
            for kind, group in groups.items()
        },
        headings=_headings(content.table),
        latency_source=latency_source(latencies),
        lab=None if latencies is None else latencies.facts(),
        rows=[_table_row(row, content.table) for row in content.table.rows],
        pairs=[_pair(pair) for pair in content.pairs],
        runs=[_run(run, each.number, comparison) for each in comparison.configurations for run in each.runs],
    )


def rerun_command(run: Run) -> str | None:
    """Command that trains it again; None for runs at W&B and for cells that have not started."""
    if run.source.startswith("wandb:") or run.state == "not started":
        return None
    return f"python train.py rerun={shell_path(run.source)}"


def _headings(table: AblationTable) -> list[dict[str, Any]]:
    parameters = [{"label": each.label, "title": each.key, "kind": "parameter"} for each in table.parameters]
    measures = [
        {"label": each.heading, "title": each.better and f"{each.better} is better", "kind": "number"}
        for each in table.columns
    ]
    runs = {"label": "runs", "title": "runs with scores, of all if some have none", "kind": "state"}
    return [*parameters, runs, *measures]


def _table_row(row: Row, table: AblationTable) -> dict[str, Any]:
    configuration = row.configuration
    return {
        "number": configuration.number,
        "label": configuration.label,
        "series": (configuration.number - 1) % len(SERIES),
        "is_baseline": row.is_baseline,
        "has_scores": bool(configuration.finished),
        "values": configuration.values,
        "states": configuration.states,
        "cells": [
            {
                "text": shown_estimate(estimate, column),
                "sort": "" if estimate is None else repr(estimate.mean),
                "mark": estimate and estimate.mark,
                "title": _exact(estimate),
            }
            for estimate, column in zip(row.estimates, table.columns, strict=True)
        ],
    }


def _exact(estimate: Estimate | None) -> str:
    if estimate is None:
        return "not measured"
    std = "" if estimate.std is None else f" ± {estimate.std:.4g}"
    return f"{estimate.mean:.10g}{std}, n = {estimate.n}"


def _pair(pair: PairComparison) -> dict[str, Any]:
    """The widths of bars are shares of the largest difference."""
    largest = max((abs(each.difference) for each in pair.images), default=0.0)
    unit = largest if 0 < largest < float("inf") else 1.0
    half = _LISTED_IMAGES // 2
    few = len(pair.images) <= _LISTED_IMAGES
    listed = pair.images if few else (*pair.images[:half], *pair.images[-half:])
    return {
        "pair": pair,
        **_listed_differences(pair.differing),
        "more_images": len(pair.images) - len(listed),
        "bars": [(each, min(1.0, abs(each.difference) / unit) * 50) for each in listed],
    }


def _run(run: Run, number: int, comparison: Comparison) -> dict[str, Any]:
    against = None if comparison.baseline is None else comparison.baseline.runs[0]
    versions = [
        f"{name.removesuffix('_version')} {value}"
        for name, value in run.conditions.items()
        if name.endswith("_version") and value
    ]
    return {
        "run": run,
        "number": number,
        "is_finished": run.state == FINISHED,
        "versions": ", ".join(versions),
        "command": rerun_command(run),
        "own_latency": _own_latency(run),
        **_listed_differences([] if against is None or not run.config else differing_keys(against, run)),
    }


def _listed_differences(differing: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    return {
        "differing": differing[:_LISTED_DIFFERENCES],
        "more_differing": max(0, len(differing) - _LISTED_DIFFERENCES),
    }


def _own_latency(run: Run) -> str | None:
    """What it measured itself, shown in the table or not."""
    costs = run.costs
    if costs.latency_ms is None:
        return None
    size = "" if costs.output_size is None else f" for {costs.output_size[1]}x{costs.output_size[0]}"
    return f"{costs.latency_ms:.4g} ms{size}" + (f" on {costs.device}" if costs.device else "")
