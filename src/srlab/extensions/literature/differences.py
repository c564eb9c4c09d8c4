"""Differences of measured scores from those that papers print for the same network."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from srlab.extensions.literature.published import UNVERIFIED, Reference, references
from srlab.extensions.literature.schema import DATASETS
from srlab.metrics.protocol import ColorSpace, ProtocolConfig, papers_gray_rule, protocol_label
from srlab.tasks.columns import Comparison
from srlab.tasks.evaluation import EvaluationReport, SetMean
from srlab.terminal.tables import PlainTable

_BICUBIC = "bicubic"


@dataclass(frozen=True)
class Difference:
    """A set's mean under one protocol minus one published figure; SSIM is None if none is published."""

    network: str
    scale: int
    set_name: str
    protocol: str
    psnr: float
    ssim: float | None
    reference: Reference


def compare(report: EvaluationReport, preset: str | None, training: str | None) -> Comparison:
    """What ``evaluate.py`` and finished runs show next to their scores."""
    found = differences(report, preset, training=training)
    return Comparison(
        records=[asdict(each) for each in found],
        fields={
            (mean.set_name, mean.protocol): _fields(
                next((e for e in found if (e.set_name, e.protocol) == (mean.set_name, mean.protocol)), None)
            )
            for mean in report.means
        },
        lines=[_line(each) for each in found],
        found=found,
    )


def differences(
    report: EvaluationReport, network: str | None, *, training: str | None
) -> tuple[Difference, ...]:
    """Against every distinct published figure, the one to compare with first.

    Only whole test sets are compared, under protocols that papers use: luma or RGB with a border of the
    scale, and for bicubic interpolation that of the luma itself; gray images as papers count them.

    Args:
        report: the scores.
        network: the literature's name or our preset's; None for a network that nobody published.
        training: the data that the weights were trained on, as far as known; figures of other data are then
            shown only where there are none of these.
    """
    if network is None:
        return ()
    protocols = {protocol_label(protocol): protocol for protocol in report.protocols}
    return tuple(
        _difference(report.scale, network, mean, reference)
        for mean in report.means
        if DATASETS.get(mean.set_name) == mean.images and "psnr" in mean.scores
        for color in _compared(protocols[mean.protocol], mean, report.scale, network)
        for reference in references(
            network, scale=report.scale, dataset=mean.set_name, training=training, color=color
        )
    )


def difference_table(found: Sequence[Difference]) -> PlainTable:
    """For a terminal of any width; the sources are numbered below it."""
    sources = {name: str(number) for number, name in enumerate(_sources(found), 1)}
    doubtful = not all(each.reference.verified for each in found)
    caption = f"{UNVERIFIED} read from a picture, not confirmed by a second source\n" if doubtful else ""
    caption += "from: " + ", ".join(f"{number} {name}" for name, number in sources.items())
    table = PlainTable(
        ("set", "protocol", "published", "difference", "data", "from"),
        text=("set", "protocol", "data", "from"),
        title=f"ours minus the published scores of {', '.join(dict.fromkeys(d.network for d in found))}",
        caption=caption,
    )
    for each in found:
        reference = each.reference
        table.add_row(
            f"{each.set_name} x{each.scale}",
            each.protocol,
            reference.shown,
            f"{each.psnr:+.3f}" + ("" if each.ssim is None else f" {each.ssim:+.4f}"),
            reference.training,
            ",".join(sources[name] for name in reference.sources),
        )
    return table


def _difference(scale: int, network: str, mean: SetMean, reference: Reference) -> Difference:
    ssim = mean.scores.get("ssim")
    return Difference(
        network=network,
        scale=scale,
        set_name=mean.set_name,
        protocol=mean.protocol,
        psnr=mean.scores["psnr"] - reference.psnr,
        ssim=None if reference.ssim is None or ssim is None else ssim - reference.ssim,
        reference=reference,
    )


def _fields(chosen: Difference | None) -> dict[str, Any]:
    """Columns of CSV files; None in each if there is no published figure."""
    reference = chosen and chosen.reference
    return {
        "published_psnr": reference and reference.psnr,
        "psnr_difference": chosen and chosen.psnr,
        "published_ssim": reference and reference.ssim,
        "ssim_difference": chosen and chosen.ssim,
        "published_training": reference and reference.training,
        "published_verified": reference and reference.verified,
        "published_sources": reference and " ".join(reference.sources),
    }


def _line(each: Difference) -> str:
    ssim = "" if each.ssim is None else f" and SSIM {each.ssim:+.4f}"
    reference = each.reference
    return (
        f"{each.set_name}, {each.protocol}: {each.psnr:+.3f} dB{ssim} from the published {reference.shown} "
        f"(trained on {reference.training}; {', '.join(reference.sources)})"
    )


def _compared(protocol: ProtocolConfig, mean: SetMean, scale: int, network: str) -> Iterator[str]:
    """The colours of the published tables that a mean can be compared with: one or none."""
    if mean.gray_images and protocol.gray is not papers_gray_rule(protocol):
        return
    if protocol.border == scale and protocol.bicubic_only == (network == _BICUBIC):
        yield "rgb" if protocol.color is ColorSpace.rgb else "y"


def _sources(found: Sequence[Difference]) -> list[str]:
    return list(dict.fromkeys(name for each in found for name in each.reference.sources))
