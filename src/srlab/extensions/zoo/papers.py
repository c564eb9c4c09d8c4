"""Single networks against their papers: every published row, and costs as a convention counts them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from srlab.extensions.literature.published import UNVERIFIED, published
from srlab.extensions.literature.reading import sources
from srlab.extensions.literature.schema import DATASETS, Row, Source
from srlab.terminal.tables import PlainTable

if TYPE_CHECKING:
    from srlab.extensions.zoo.conventions import ConventionReport

_FIGURE_WIDTH = len("0.9611")


def convention_table(names: Sequence[str] | None, *, convention: str, scale: int) -> PlainTable:
    """Sizes and multiply-adds as the papers of one convention count them, next to what papers print.

    Args:
        names: presets; None: all that the convention is defined for and that upsample by ``scale``.
        convention: see :mod:`srlab.extensions.zoo.conventions`.
        scale: of both sides.

    Raises:
        ValueError: an unknown preset or convention, or one of ``names`` that it is not defined for.
    """
    # here: the published rows are shown without torch
    import torch

    from srlab.app.presets import create_model, published_scales
    from srlab.extensions.zoo.conventions import CONVENTIONS, UndefinedConventionError, cost_under
    from srlab.extensions.zoo.networks import known_presets
    from srlab.models.network import require_integer

    if convention not in CONVENTIONS:
        raise ValueError(f"unknown convention {convention!r}; choose one of {', '.join(CONVENTIONS)}")
    require_integer("scale", scale)
    notes, rows = {}, []
    for name in known_presets(names):
        if not names and scale not in published_scales(name):
            continue
        try:
            with torch.device("meta"):
                report = cost_under(create_model(name, scale=scale), convention)
        except UndefinedConventionError:
            if names:
                raise
            continue
        notes[report.note] = None
        rows.append((name, *_convention_cells(report), _printed(name, scale)))
    if not rows:
        raise ValueError(f"convention {convention} is defined for no preset at scale {scale}")
    table = PlainTable(
        ("model", "params K", "mult-adds G", "activations M", "output", "printed G"),
        text=("model", "printed G"),
        title=f"x{scale}, counted as {convention}",
        caption="\n".join(notes),
    )
    for row in rows:
        table.add_row(*row)
    return table


def literature_table(network: str) -> Table:
    """All that was published for one network, each source in rows of its own; fits 80 columns.

    Args:
        network: a preset's name, or the literature's such as ``OmniSR``.

    Raises:
        ValueError: no source has it.
    """
    every = [(source, row) for source in sources() for row in source.rows]
    found = [(source, row) for source, row in every if row.network == network]
    if not found:
        known = ", ".join(sorted({row.network for _, row in every}))
        raise ValueError(f"nothing is recorded for {network!r}; recorded are {known}")
    found.sort(key=lambda pair: (pair[1].scale, pair[1].training, pair[1].self_ensemble))
    used = [name for name in DATASETS if any(name in row.scores for _, row in found)]
    shown = {
        (score.source, score.scale, score.training, score.self_ensemble, score.dataset): score.shown
        for color in ("y", "rgb")
        for score in published(network, color=color)
    }
    cautions = dict.fromkeys(f"{source.name}: {row.caution}" for source, row in found if row.caution)
    conditions = dict.fromkeys(_conditions(source) for source, _ in found)
    marks = "+ self-ensemble; ! not to be compared with; * unverified"
    table = Table(
        title=f"published for {network}: PSNR (dB) and SSIM; thousands of parameters, 1e9 multiply-adds, ms",
        caption="\n".join([marks, *cautions, *filter(None, conditions)]),
        box=None,
        padding=(0, 1, 0, 0),
    )
    for heading in ("", "data", *used, "K", "G", "ms", "source"):
        width = max(len(heading), _FIGURE_WIDTH if heading in used else 0)
        table.add_column(heading, overflow="fold", min_width=width)
    for source, row in found:
        key = (source.name, row.scale, row.training, row.self_ensemble)
        data = row.training + ("+" if row.self_ensemble else "") + ("!" if row.caution else "")
        scores = [shown.get((*key, dataset), "") for dataset in used]
        table.add_row(f"x{row.scale}", data, *scores, *_costs_and_source(source, row))
    return table


def _convention_cells(report: ConventionReport) -> tuple[str, ...]:
    height, width = report.output_size
    return (
        f"{report.parameters / 1e3:,.0f}",
        f"{report.multiply_adds / 1e9:.2f}",
        "–" if report.activations is None else f"{report.activations / 1e6:.1f}",
        f"{width}x{height}",
    )


def _printed(name: str, scale: int) -> str:
    """Every figure that a source prints for the network, whatever it counted."""
    figures: dict[str, dict[str, None]] = {}
    for source in sources():
        for row in source.rows:
            if (row.network, row.scale) == (name, scale) and row.multiply_adds_g is not None:
                figures.setdefault(f"{row.multiply_adds_g:g}", {})[source.name] = None
    return "; ".join(f"{figure} {', '.join(names)}" for figure, names in figures.items()) or "–"


def _costs_and_source(source: Source, row: Row) -> tuple[str, ...]:
    low, high = row.latency_ms or (None, None)
    latency = _figure(low) if low == high else f"{low:g}–{high:g}"
    name = source.name + (" (RGB)" if source.color == "rgb" else "")
    mark = UNVERIFIED if source.read == "image" else ""
    figures = (_figure(row.params_k), _figure(row.multiply_adds_g), latency)
    return *(f"{figure}{mark}" if figure else "" for figure in figures), name


def _conditions(source: Source) -> str:
    """What a source's costs are of."""
    parts = [source.counting] if source.counting else []
    if source.latency:
        height, width = source.latency.output_size or (0, 0)
        size = f"{width}x{height}" if width else source.latency.images
        parts.append(f"ms on {source.latency.device}" + (f", {size}" if size else ""))
    return f"{source.name}: {'; '.join(parts)}" if parts else ""


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
