"""Tables of networks: every preset, and those whose weights come with srlab beside published ones.

README.md holds a copy, which a test compares. ``srlab/weights/<preset>_x<scale>.json`` is the record of
``<preset>_x<scale>.safetensors``, cut from the evaluation.json of ``evaluate.py`` by
``benchmarks/ship_weights.py --scores``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from srlab.app.presets import create_model, list_models, list_named_recipes, list_recipes, published_scales
from srlab.atomic_files import atomic_write
from srlab.checkpoints.shipped import shipped_weights
from srlab.counts.complexity import count_parameters, multiply_adds
from srlab.extensions.literature.published import UNVERIFIED, Reference, references
from srlab.extensions.literature.records import Card, cards, sources
from srlab.runs.folder import read_json
from srlab.runs.records import read_scores
from srlab.terminal.tables import PlainTable, markdown_table

_SHOWN_SETS = ("Set5", "Urban100")
_USUAL_SCALE = 4
_DESCRIBED_FROM = 100  # columns of a terminal
_TEXT_COLUMNS = frozenset({"model", "recipe", "weights", "what", "scores"})
_START, _END = "<!-- networks -->", "<!-- end of networks -->"
_MORE_DATA = "†"
_FOOTNOTE = (
    "Sizes, multiply-adds (for 1280x720) and PSNR (dB) at x4. PSNR is the papers', trained on DIV2K, "
    f"{_MORE_DATA} on more; {UNVERIFIED} read from a picture, not confirmed by a second source. "
    "Weights: yes, the authors released them; ?, not known; scales, they come with srlab."
)

PROTOCOL = "basicsr"
_SCORED_SETS = ("Set5", "Set14", "B100")
_PUBLISHED = "published"
_LARGEST_K = 700.0  # of published networks: thousands of parameters
_SCORES_CAPTION = (
    f"PSNR (dB). Published: networks of up to {_LARGEST_K:.0f}K parameters that are not above; {UNVERIFIED} "
    "at second hand, not confirmed by another source. Scored here: the weights that come with srlab, by "
    f"evaluate.py under {PROTOCOL}."
)


@dataclass(frozen=True)
class ZooRow:
    """One preset.

    Attributes:
        scale: 4, or the highest that the preset exists for; sizes, costs and scores are of it.
        multiply_adds: for an output of 1280x720.
        published: by test set; of DIV2K if papers train on several data.
        recipes: scales with a recipe in ``conf/experiment``.
        named_recipes: other experiments there, by name.
    """

    name: str
    card: Card
    scale: int
    parameters: int
    trainable: int
    multiply_adds: int
    published: dict[str, Reference]
    recipes: tuple[int, ...]
    named_recipes: tuple[str, ...] = ()


def zoo_rows(names: Sequence[str] | None = None) -> list[ZooRow]:
    """One row for each preset, or for those named, in their order.

    Raises:
        ValueError: an unknown preset, or one without a card in ``srlab/extensions/literature/networks``.
    """
    rows = []
    for name in known_presets(names):
        card, scales = find_card(name), published_scales(name)
        with torch.device("meta"):
            network = create_model(name, scale=_USUAL_SCALE if _USUAL_SCALE in scales else max(scales))
        size, cost, recipes = count_parameters(network), multiply_adds(network), tuple(list_recipes(name))
        figures = {each: _reference(name, network.scale, each, "DIV2K") for each in _SHOWN_SETS}
        published = {each: figure for each, figure in figures.items() if figure}
        named = tuple(list_named_recipes(name))
        rows.append(
            ZooRow(name, card, network.scale, size.all, size.trainable, cost, published, recipes, named)
        )
    return rows


def find_card(preset: str) -> Card:
    """The card that lists ``preset``.

    Raises:
        ValueError: none does, or several do.
    """
    found = [card for card in cards() if preset in card.presets]
    if len(found) != 1:
        named = ", ".join(f"{card.name}.yaml" for card in found) or "no file"
        raise ValueError(
            f"preset {preset} must be listed by exactly one card, got {named} in "
            f"srlab/extensions/literature/networks; add it under presets, as in {cards()[0].name}.yaml"
        )
    return found[0]


def to_markdown(rows: Sequence[ZooRow]) -> str:
    """The table and its footnote; at least one row."""
    return _markdown([{"model": f"`{row.name}`", **_cells(row)} for row in rows], _FOOTNOTE)


def zoo_table(rows: Sequence[ZooRow], *, width: int) -> PlainTable:
    """For a terminal of ``width`` columns; below 100 the networks are not described."""
    cells = [{"model": row.name, **_cells(row)} for row in rows]
    for each in cells:
        if width < _DESCRIBED_FROM:
            del each["what"]
    return PlainTable(cells, text=_TEXT_COLUMNS, title="networks", caption=_FOOTNOTE)


def scores_table(preset: str | None = None) -> PlainTable | None:
    """For a terminal: of all presets whose weights come with srlab, or of one; None if there are none."""
    rows, title = list(_score_rows(preset)), "trained here, beside published networks of their size"
    if not rows:
        return None
    return PlainTable(rows, text=_TEXT_COLUMNS, title=title, caption=_SCORES_CAPTION)


def scores_markdown() -> str:
    """The same for README.md; empty without weights."""
    rows = [
        row if row["scores"] == _PUBLISHED else {**row, "model": f"`{row['model']}`"}
        for row in _score_rows(None)
    ]
    return f"\n{_markdown(rows, _SCORES_CAPTION)}" if rows else ""


def update_readme(path: Path) -> bool:
    """Write the table between the markers of ``path``; True if that changed the file.

    Raises:
        ValueError: the markers are missing, repeated or in the wrong order.
    """
    text = path.read_text(encoding="utf-8")
    before, start, rest = text.partition(_START)
    _, end, after = rest.partition(_END)
    if not start or not end or _START in rest or _END in after:
        raise ValueError(
            f"{path} needs one line {_START} and, below it, one line {_END}; the table goes between"
        )
    updated = f"{before}{_START}\n{to_markdown(zoo_rows())}{scores_markdown()}{_END}{after}"
    if updated == text:
        return False
    with atomic_write(path) as partial:
        partial.write_text(updated, encoding="utf-8")
    return True


def known_presets(names: Sequence[str] | None) -> Sequence[str]:
    """``names`` if all are presets; all presets for None."""
    known = list_models()
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f"unknown model {', '.join(unknown)}; choose from {', '.join(known)}")
    return known if names is None else names


def _markdown(rows: Sequence[Mapping[str, str]], caption: str) -> str:
    table = markdown_table(list(rows[0]), [list(row.values()) for row in rows], text=_TEXT_COLUMNS)
    return f"{table}\n{caption}\n"


def _reference(name: str, scale: int, dataset: str, training: str | None = None) -> Reference | None:
    """The published figure to compare with."""
    return next(iter(references(name, scale=scale, dataset=dataset, training=training)), None)


def _shown(figure: Reference) -> str:
    """Its PSNR, marked where no network trained on DIV2K alone was scored."""
    return figure.shown_psnr + (_MORE_DATA if figure.training in ("DF2K", "DFLIP") else "")


def _cells(row: ZooRow) -> dict[str, str]:
    trainable = "" if row.trainable == row.parameters else f" ({row.trainable / 1e3:,.0f})"
    scale = "" if row.scale == _USUAL_SCALE else f", x{row.scale}"
    weights, ours = row.card.weights, shipped_weights().get(row.name, {})
    theirs = {True: "yes", False: "no", None: "?"}[weights.released] if weights else "–"
    psnr = {name: _shown(row.published[name]) if name in row.published else "–" for name in _SHOWN_SETS}
    return {
        "params K (trainable)": f"{row.parameters / 1e3:,.0f}{trainable}{scale}",
        "mult-adds G": f"{row.multiply_adds / 1e9:.2f}",
        **psnr,
        "recipe": " ".join([*(f"x{scale}" for scale in row.recipes), *row.named_recipes]) or "–",
        "weights": " ".join(f"x{scale}" for scale in ours) or theirs,
        "what": row.card.presets[row.name],
    }


def _score_rows(preset: str | None) -> Iterator[dict[str, str]]:
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
        return {**dict.fromkeys(_SCORED_SETS, "–"), "scores": "not scored yet"}
    psnr = {each["set_name"]: f"{read_scores(each)['psnr']:.2f}" for each in record["means"]}
    return {
        **{name: psnr.get(name, "–") for name in _SCORED_SETS},
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
        figures = {each: _reference(name, scale, each) for each in _SCORED_SETS}
        if sizes[name] <= _LARGEST_K and figures["Set5"]:
            cells = {each: figure.shown_psnr if figure else "–" for each, figure in figures.items()}
            yield name, (sizes[name], {**cells, "scores": _PUBLISHED})
