"""Looks up what was published for a network, and which figure a measurement is compared with."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from rich.table import Table

from srlab.extensions.literature.records import DATASETS, TRAINING_DATA, Row, Source, sources

#: Follows a figure that was read by eye or at second hand and that nothing else confirms.
UNVERIFIED = "*"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One network's scores on one set at one scale, as one source prints them, or all that agree.

    Verified is what was read as text, is printed by another source too, or the authors' weights score here.

    Attributes:
        own: the network's authors made the table.
        printed: False for what the authors' weights score here, which confirms what was printed.
        sources: names of the sources' files.
    """

    network: str
    scale: int
    dataset: str
    color: str
    training: str
    self_ensemble: bool
    caution: str | None
    psnr: float
    ssim: float | None
    psnr_verified: bool
    ssim_verified: bool
    own: bool
    printed: bool
    sources: tuple[str, ...]

    @property
    def verified(self) -> bool:
        """Both figures, if there are two."""
        return self.psnr_verified and (self.ssim is None or self.ssim_verified)

    @property
    def shown_psnr(self) -> str:
        """As printed, with its mark if it is unverified."""
        return f"{self.psnr:.2f}" + ("" if self.psnr_verified else UNVERIFIED)

    @property
    def shown(self) -> str:
        """PSNR and SSIM as printed, each with its mark if it is unverified."""
        mark = "" if self.ssim_verified else UNVERIFIED
        return self.shown_psnr + ("" if self.ssim is None else f" {self.ssim:.4f}{mark}")


def published(
    network: str,
    *,
    scale: int | None = None,
    dataset: str | None = None,
    training: str | None = None,
    color: str = "y",
) -> list[Reference]:
    """Every source's score of ``network``, self-ensemble and cautioned rows included; None asks for all.

    Sources that disagree are listed one after the other.
    """
    return [
        score
        for source in sources()
        if source.color == color
        for row in source.rows
        if row.network == network and scale in (None, row.scale) and training in (None, row.training)
        for score in scores_of(source, row)
        if dataset in (None, score.dataset)
    ]


def references(
    network: str,
    *,
    scale: int,
    dataset: str,
    training: str | None = None,
    color: str = "y",
    self_ensemble: bool = False,
) -> list[Reference]:
    """Distinct published figures, the one to compare a measurement with first.

    Rows with a caution, and what was not printed, are left out. With ``training``, the rows of those data if
    there are any, else all. DIV2K comes before other data; then the authors' own table, verified figures, and
    what most sources say.
    """
    found = [
        score
        for score in published(network, scale=scale, dataset=dataset, color=color)
        if score.printed and score.caution is None and score.self_ensemble == self_ensemble
    ]
    groups = defaultdict(list)
    for score in [score for score in found if score.training == training] or found:
        groups[score.training, score.psnr].append(score)

    def rank(each: Reference) -> tuple[int, bool, bool, int]:
        return TRAINING_DATA.index(each.training), not each.own, not each.psnr_verified, -len(each.sources)

    return sorted(map(_merged, groups.values()), key=rank)


def _merged(group: Sequence[Reference]) -> Reference:
    """One PSNR, and the SSIM of the first source that has one, a verified one if possible."""
    with_ssim = [score for score in group if score.ssim is not None]
    return replace(
        min(with_ssim, key=lambda score: not score.ssim_verified, default=group[0]),
        psnr_verified=any(score.psnr_verified for score in group),
        own=any(score.own for score in group),
        sources=tuple(name for score in group for name in score.sources),
    )


def scores_of(source: Source, row: Row) -> Iterator[Reference]:
    """What one row prints, set by set."""
    for dataset, (psnr, ssim) in row.scores.items():
        psnr_verified, ssim_verified = (
            value is not None
            and (source.read == "text" or len(_witnesses()[_figure(source, row, dataset, metric, value)]) > 1)
            for metric, value in (("psnr", psnr), ("ssim", ssim))
        )
        yield Reference(
            network=row.network,
            scale=row.scale,
            dataset=dataset,
            color=source.color,
            training=row.training,
            self_ensemble=row.self_ensemble,
            caution=row.caution,
            psnr=psnr,
            ssim=ssim,
            psnr_verified=psnr_verified,
            ssim_verified=ssim_verified,
            own=row.network in source.own,
            printed=source.read != "scored",
            sources=(source.name,),
        )


def _figure(source: Source, row: Row, *of: object) -> tuple[object, ...]:
    return row.network, row.scale, row.training, row.self_ensemble, source.color, *of


@cache
def _witnesses() -> dict[tuple[object, ...], set[str]]:
    """For each figure, the sources that have it; rows with a caution confirm nothing."""
    found = defaultdict(set)
    for source in sources():
        for row in source.rows:
            for dataset, score in row.scores.items() if row.caution is None else ():
                for metric, value in score._asdict().items():
                    found[_figure(source, row, dataset, metric, value)].add(source.name)
    return found


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
        name = source.name + (" (RGB)" if source.color == "rgb" else "")
        table.add_row(f"x{row.scale}", data, *scores, *_costs(source, row), name)
    return table


def _costs(source: Source, row: Row) -> list[str]:
    """As printed, marked if read from a picture; of a latency its range."""
    mark = UNVERIFIED if source.read == "image" else ""
    figures = ([row.params_k], [row.multiply_adds_g], sorted({*(row.latency_ms or ())}))
    shown = ("–".join(f"{number:g}" for number in each if number is not None) for each in figures)
    return [f"{each}{mark}" if each else "" for each in shown]


def _conditions(source: Source) -> str:
    """What a source's costs are of."""
    parts = [source.counting] if source.counting else []
    if source.latency:
        height, width = source.latency.output_size or (0, 0)
        size = f"{width}x{height}" if width else source.latency.images
        parts.append(f"ms on {source.latency.device}" + (f", {size}" if size else ""))
    return f"{source.name}: {'; '.join(parts)}" if parts else ""
