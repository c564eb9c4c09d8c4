"""The networks whose weights come with srlab, with the scores that these reach, beside published ones.

``srlab/weights/<preset>_x<scale>.json`` is the record of ``<preset>_x<scale>.safetensors``, cut from the
evaluation.json of ``evaluate.py`` by ``benchmarks/ship_weights.py --scores``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from srlab.app.presets import create_model, list_models
from srlab.checkpoints.shipped import shipped_weights
from srlab.counts.complexity import count_parameters
from srlab.extensions.literature.published import UNVERIFIED, references
from srlab.extensions.literature.records import sources
from srlab.runs.folder import read_json
from srlab.runs.records import read_scores
from srlab.terminal.tables import PlainTable, markdown_table

PROTOCOL = "basicsr"
SCORED_SETS = ("Set5", "Set14", "B100")
_LARGEST_K = 700.0  # of published networks: thousands of parameters
_TEXT_COLUMNS = ("model", "scores")
_TITLE = "trained here, beside published networks of their size"
_CAPTION = (
    f"PSNR (dB). Published: networks of up to {_LARGEST_K:.0f}K parameters that are not above; {UNVERIFIED} "
    "at second hand, not confirmed by another source. Scored here: the weights that come with srlab, by "
    f"evaluate.py under {PROTOCOL}."
)


def scores_table(preset: str | None = None) -> PlainTable | None:
    """For a terminal: of all presets whose weights come with srlab, or of one; None if there are none."""
    rows = list(_rows(preset))
    return PlainTable.of(rows, text=_TEXT_COLUMNS, title=_TITLE, caption=_CAPTION) if rows else None


def scores_markdown() -> str:
    """The same for README.md; empty without weights."""
    rows = [{**row, "model": f"`{row['model']}`"} if _is_ours(row) else row for row in _rows(None)]
    if not rows:
        return ""
    table = markdown_table(list(rows[0]), [list(row.values()) for row in rows], text=_TEXT_COLUMNS)
    return f"\n{table}\n{_CAPTION}\n"


def _is_ours(row: Mapping[str, str]) -> bool:
    return row["scores"] != "published"


def _rows(preset: str | None) -> Iterator[dict[str, str]]:
    """Scale by scale, the smallest network first."""
    files = {name: paths for name, paths in shipped_weights().items() if preset in (None, name)}
    for scale in sorted({scale for paths in files.values() for scale in paths}):
        found = dict(_published(scale))
        for name, paths in files.items():
            if scale in paths:
                with torch.device("meta"):
                    size = count_parameters(create_model(name, scale=scale)).all / 1e3
                found[name] = size, _scored(paths[scale])
        for name, (size, cells) in sorted(found.items(), key=lambda each: each[1][0]):
            shown = f"{size:.3g}" if size < 100 else f"{size:,.0f}"
            yield {"scale": f"x{scale}", "model": name, "params K": shown, **cells}


def _scored(weights: Path) -> dict[str, str]:
    """Cells of the record beside ``weights``; dashes where there is none."""
    record = read_json(weights.with_suffix(".json"))
    if record is None:
        return {**dict.fromkeys(SCORED_SETS, "–"), "scores": "not scored yet"}
    psnr = {each["set_name"]: f"{read_scores(each)['psnr']:.2f}" for each in record["means"]}
    return {
        **{name: psnr.get(name, "–") for name in SCORED_SETS},
        "scores": f"scored here, step {record['step']:,}",
    }


def _published(scale: int) -> Iterator[tuple[str, tuple[float, dict[str, str]]]]:
    """Size in thousands and cells of the literature's small networks that are no presets."""
    sizes: dict[str, float] = {}
    for source in sources():
        for row in source.rows:
            if row.scale == scale and row.params_k is not None and row.caution is None:
                sizes.setdefault(row.network, row.params_k)
    for name in sizes.keys() - set(list_models()):
        figures = {each: references(name, scale=scale, dataset=each)[:1] for each in SCORED_SETS}
        if sizes[name] <= _LARGEST_K and figures["Set5"]:
            cells = {each: found[0].shown_psnr if found else "–" for each, found in figures.items()}
            yield name, (sizes[name], {**cells, "scores": "published"})
