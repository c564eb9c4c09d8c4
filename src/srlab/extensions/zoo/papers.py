"""Single networks and their papers: all published rows, and costs under a convention."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from rich.table import Table

from srlab.extensions.literature.published import UNVERIFIED, scores_of
from srlab.extensions.literature.records import DATASETS, Row, Source, sources
from srlab.terminal.tables import PlainTable


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
    from srlab.extensions.zoo.conventions import UndefinedConventionError, cost_under
    from srlab.extensions.zoo.networks import known_presets
    from srlab.models.network import require_integer

    require_integer("scale", scale)
    notes, rows = [], []
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
        notes.append(report.note)
        rows.append(
            {
                "model": name,
                "params K": f"{report.parameters / 1e3:,.0f}",
                "mult-adds G": f"{report.multiply_adds / 1e9:.2f}",
                "activations M": report.activations and f"{report.activations / 1e6:.1f}",
                "output": "{1}x{0}".format(*report.output_size),
                "printed G": _printed(name, scale),
            }
        )
    if not rows:
        raise ValueError(f"convention {convention} is defined for no preset at scale {scale}")
    title, caption = f"x{scale}, counted as {convention}", "\n".join(dict.fromkeys(notes))
    return PlainTable.of(rows, text=("model", "printed G"), title=title, caption=caption)


def _printed(name: str, scale: int) -> str | None:
    """Every figure that a source prints for the network, whatever it counted."""
    figures = defaultdict(list)
    for source in sources():
        for row in source.rows:
            if (row.network, row.scale) == (name, scale) and row.multiply_adds_g is not None:
                figures[f"{row.multiply_adds_g:g}"].append(source.name)
    shown = (f"{figure} {', '.join(dict.fromkeys(names))}" for figure, names in figures.items())
    return "; ".join(shown) or None


def literature_table(network: str) -> Table:
    """All that was published for one network, each source in rows of its own; fits 80 columns.

    Args:
        network: a preset's name, or the literature's such as ``OmniSR``.

    Raises:
        ValueError: no source has it.
    """
    found = [(source, row) for source in sources() for row in source.rows if row.network == network]
    if not found:
        known = ", ".join(sorted({row.network for source in sources() for row in source.rows}))
        raise ValueError(f"nothing is recorded for {network!r}; recorded are {known}")
    found.sort(key=lambda pair: (pair[1].scale, pair[1].training, pair[1].self_ensemble))
    used = [name for name in DATASETS if any(name in row.scores for _, row in found)]
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
        table.add_column(heading, overflow="fold", min_width=max(len(heading), 6 * (heading in used)))
    for source, row in found:
        shown = {score.dataset: score.shown for score in scores_of(source, row)}
        data = row.training + ("+" if row.self_ensemble else "") + ("!" if row.caution else "")
        scores = [shown.get(dataset, "") for dataset in used]
        table.add_row(f"x{row.scale}", data, *scores, *_costs_and_source(source, row))
    return table


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
