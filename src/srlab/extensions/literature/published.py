"""Looks up what was published for a network, and which figure a measurement is compared with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from srlab.extensions.literature.reading import sources
from srlab.extensions.literature.schema import TRAINING_DATA, Row, Source

#: Follows a figure that was read by eye or at second hand and that nothing else confirms.
UNVERIFIED = "*"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A published figure to compare with, and all sources that agree on it.

    Verified is what was read as text, is printed by another source too, or the authors' weights score here.
    """

    training: str
    psnr: float
    ssim: float | None
    psnr_verified: bool
    ssim_verified: bool
    self_ensemble: bool
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


@dataclass(frozen=True, kw_only=True)
class PublishedScore(Reference):
    """One network's scores on one set at one scale, as one source prints them.

    Attributes:
        own: the network's authors made the table.
        printed: False for what the authors' weights score here, which confirms what was printed.
    """

    network: str
    scale: int
    dataset: str
    color: str
    caution: str | None
    own: bool
    printed: bool

    @property
    def source(self) -> str:
        """Name of the source's file."""
        return self.sources[0]


def published(
    network: str,
    *,
    scale: int | None = None,
    dataset: str | None = None,
    training: str | None = None,
    color: str = "y",
) -> list[PublishedScore]:
    """Every source's score of ``network``, self-ensemble and cautioned rows included; None asks for all.

    Sources that disagree are listed one after the other.
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
    groups: dict[tuple[str, float], list[PublishedScore]] = {}
    for score in [score for score in found if score.training == training] or found:
        groups.setdefault((score.training, score.psnr), []).append(score)
    return [_reference(group) for group in sorted(groups.values(), key=_precedence)]


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
            psnr_verified=_verified(source, (*_condition(source, row), dataset, "psnr", psnr)),
            ssim_verified=_verified(source, (*_condition(source, row), dataset, "ssim", ssim)),
            caution=row.caution,
            sources=(source.name,),
            own=row.network in source.own,
            printed=source.read != "scored",
        )


def _condition(source: Source, row: Row) -> tuple[object, ...]:
    return row.network, row.scale, row.training, row.self_ensemble, source.color


def _verified(source: Source, figure: tuple[object, ...]) -> bool:
    return figure[-1] is not None and (source.read == "text" or len(_witnesses().get(figure, ())) > 1)


@cache
def _witnesses() -> dict[tuple[object, ...], set[str]]:
    """For each figure, the sources that have it; rows with a caution confirm nothing."""
    found: dict[tuple[object, ...], set[str]] = {}
    for source in sources():
        for row in source.rows:
            for dataset, score in row.scores.items() if row.caution is None else ():
                for metric, value in score._asdict().items():
                    figure = (*_condition(source, row), dataset, metric, value)
                    found.setdefault(figure, set()).add(source.name)
    return found
