"""Looking up what was published for a network, and which figure a measurement is held against."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from srlab.extensions.literature.reading import sources
from srlab.extensions.literature.schema import TRAINING_DATA, Row, Source

__all__ = ["UNVERIFIED", "PublishedScore", "Reference", "published", "references"]

#: What follows a figure that was read by eye or at second hand and that nothing else confirms.
UNVERIFIED = "*"

_Figure = tuple[str, int, str, bool, str, str, str, float]


@dataclass(frozen=True)
class PublishedScore:
    """One network's scores on one set at one scale, as one source prints them."""

    network: str
    scale: int
    dataset: str
    color: str
    training: str
    self_ensemble: bool
    psnr: float
    ssim: float | None
    psnr_verified: bool
    """Read as text, or printed by another source too, or what the authors' weights score here."""
    ssim_verified: bool
    caution: str | None
    source: str
    """Name of the source's file."""
    own: bool
    """The network's authors made the table."""
    printed: bool
    """False for what the authors' weights score here, which confirms what was printed."""

    @property
    def shown(self) -> str:
        """PSNR and SSIM as printed, each with its mark if it is unverified."""
        return _shown(self.psnr, self.psnr_verified, self.ssim, self.ssim_verified)


@dataclass(frozen=True)
class Reference:
    """A published figure that a measurement can be held against, and all sources that agree on it."""

    training: str
    psnr: float
    ssim: float | None
    psnr_verified: bool
    ssim_verified: bool
    self_ensemble: bool
    sources: tuple[str, ...]

    @property
    def verified(self) -> bool:
        """Both figures, as far as there are two."""
        return self.psnr_verified and (self.ssim is None or self.ssim_verified)

    @property
    def shown_psnr(self) -> str:
        """As printed, with its mark if it is unverified."""
        return _marked(f"{self.psnr:.2f}", self.psnr_verified)

    @property
    def shown(self) -> str:
        """PSNR and SSIM as printed, each with its mark if it is unverified."""
        return _shown(self.psnr, self.psnr_verified, self.ssim, self.ssim_verified)


def published(
    network: str,
    *,
    scale: int | None = None,
    dataset: str | None = None,
    training: str | None = None,
    color: str = "y",
) -> list[PublishedScore]:
    """Every source's score of ``network``, self-ensemble and cautioned rows included; None asks for all.

    Sources that disagree stand side by side.
    """
    return [
        score
        for source in sources()
        if source.color == color
        for row in source.rows
        if row.network == network and scale in (None, row.scale) and training in (None, row.training)
        for score in _scores(source, row)
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
    """Distinct published figures, the one to hold a measurement against first.

    Rows with a caution, and what was not printed, are left out. With ``training``, the rows of those data if
    there are any, else all. DIV2K comes before other data; then the authors' own table, verified figures, and
    what most sources say.
    """
    found = [
        score
        for score in published(network, scale=scale, dataset=dataset, color=color)
        if score.printed and score.caution is None and score.self_ensemble == self_ensemble
    ]
    matching = [score for score in found if score.training == training]
    groups: dict[tuple[str, float], list[PublishedScore]] = {}
    for score in matching or found:
        groups.setdefault((score.training, score.psnr), []).append(score)
    return [_reference(group) for group in sorted(groups.values(), key=_precedence)]


def _shown(psnr: float, psnr_verified: bool, ssim: float | None, ssim_verified: bool) -> str:
    shown = _marked(f"{psnr:.2f}", psnr_verified)
    return shown if ssim is None else f"{shown} {_marked(f'{ssim:.4f}', ssim_verified)}"


def _marked(figure: str, verified: bool) -> str:
    return figure if verified else figure + UNVERIFIED


def _precedence(group: Sequence[PublishedScore]) -> tuple[int, bool, bool, int]:
    return (
        TRAINING_DATA.index(group[0].training),
        not any(score.own for score in group),
        not any(score.psnr_verified for score in group),
        -len(group),
    )


def _reference(group: Sequence[PublishedScore]) -> Reference:
    """One PSNR, and the SSIM of the first source that has one, a verified one if possible."""
    with_ssim = [score for score in group if score.ssim is not None]
    chosen = min(with_ssim, key=lambda score: not score.ssim_verified, default=group[0])
    return Reference(
        training=chosen.training,
        psnr=chosen.psnr,
        ssim=chosen.ssim,
        psnr_verified=any(score.psnr_verified for score in group),
        ssim_verified=chosen.ssim_verified,
        self_ensemble=chosen.self_ensemble,
        sources=tuple(score.source for score in group),
    )


def _scores(source: Source, row: Row) -> Iterator[PublishedScore]:
    for dataset, (psnr, ssim) in row.scores.items():
        yield PublishedScore(
            network=row.network,
            scale=row.scale,
            dataset=dataset,
            color=source.color,
            training=row.training,
            self_ensemble=row.self_ensemble,
            psnr=psnr,
            ssim=ssim,
            psnr_verified=_verified(source, _figure(source, row, dataset, "psnr", psnr)),
            ssim_verified=ssim is not None and _verified(source, _figure(source, row, dataset, "ssim", ssim)),
            caution=row.caution,
            source=source.name,
            own=row.network in source.own,
            printed=source.read != "scored",
        )


def _figure(source: Source, row: Row, dataset: str, metric: str, value: float) -> _Figure:
    return (row.network, row.scale, row.training, row.self_ensemble, source.color, dataset, metric, value)


def _verified(source: Source, figure: _Figure) -> bool:
    return source.read == "text" or len(_witnesses().get(figure, ())) > 1


@cache
def _witnesses() -> dict[_Figure, set[str]]:
    """For each figure, the sources that have it; rows with a caution bear no witness."""
    found: dict[_Figure, set[str]] = {}
    for source in sources():
        for row in source.rows:
            for figure in _figures(source, row) if row.caution is None else ():
                found.setdefault(figure, set()).add(source.name)
    return found


def _figures(source: Source, row: Row) -> Iterator[_Figure]:
    for dataset, score in row.scores.items():
        yield _figure(source, row, dataset, "psnr", score.psnr)
        if score.ssim is not None:
            yield _figure(source, row, dataset, "ssim", score.ssim)
