"""Differences of measured scores from those that papers print for the same network."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from srlab.extensions.literature.published import UNVERIFIED, Reference, references
from srlab.extensions.literature.records import DATASETS
from srlab.metrics.protocol import ColorSpace, ProtocolConfig, papers_gray_rule, protocol_label
from srlab.tasks.columns import Comparison
from srlab.tasks.evaluation import EvaluationReport, SetMean
from srlab.terminal.tables import PlainTable

# Columns of CSV files.
_FIELDS = (
    "published_psnr", "psnr_difference", "published_ssim", "ssim_difference", "published_training",
    "published_verified", "published_sources",
)  # fmt: skip


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
    # the first difference of a mean is from the figure to compare with
    chosen = {(each.set_name, each.protocol): _fields(each) for each in reversed(found)}
    means = [(mean.set_name, mean.protocol) for mean in report.means]
    return Comparison(
        records=[asdict(each) for each in found],
        fields={mean: chosen.get(mean, dict.fromkeys(_FIELDS)) for mean in means},
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
        network: the literature's name or our preset's; None for an unpublished network.
        training: the data that the weights were trained on, as far as known; figures of other data are then
            shown only where there are none of these.
    """
    scale = int(report.scale)
    if network is None or scale != report.scale:
        return ()
    protocols = {protocol_label(protocol): protocol for protocol in report.protocols}
    found = []
    for mean in report.means:
        protocol = protocols[mean.protocol]
        if not _is_comparable(mean, protocol, scale, network):
            continue
        color = "rgb" if protocol.color is ColorSpace.rgb else "y"
        psnr, ssim = mean.scores["psnr"], mean.scores.get("ssim")
        for figure in references(network, scale=scale, dataset=mean.set_name, training=training, color=color):
            ssim_gap = None if figure.ssim is None or ssim is None else ssim - figure.ssim
            found.append(
                Difference(network, scale, mean.set_name, mean.protocol, psnr - figure.psnr, ssim_gap, figure)
            )
    return tuple(found)


def difference_table(found: Sequence[Difference]) -> PlainTable:
    """For a terminal of any width; the sources are numbered below it."""
    names = dict.fromkeys(name for each in found for name in each.reference.sources)
    sources = {name: str(number) for number, name in enumerate(names, 1)}
    doubtful = not all(each.reference.verified for each in found)
    caption = f"{UNVERIFIED} read from a picture, not confirmed by a second source\n" if doubtful else ""
    caption += "from: " + ", ".join(f"{number} {name}" for name, number in sources.items())
    rows = [
        {
            "set": f"{each.set_name} x{each.scale}",
            "protocol": each.protocol,
            "published": each.reference.shown,
            "difference": f"{each.psnr:+.3f}" + ("" if each.ssim is None else f" {each.ssim:+.4f}"),
            "data": each.reference.training,
            "from": ",".join(sources[name] for name in each.reference.sources),
        }
        for each in found
    ]
    title = f"ours minus the published scores of {', '.join(dict.fromkeys(each.network for each in found))}"
    return PlainTable(rows, text=("set", "protocol", "data", "from"), title=title, caption=caption)


def _is_comparable(mean: SetMean, protocol: ProtocolConfig, scale: int, network: str) -> bool:
    is_whole_set = DATASETS.get(mean.set_name) == mean.images and "psnr" in mean.scores
    counts_gray_alike = not mean.gray_images or protocol.gray is papers_gray_rule(protocol)
    is_papers_protocol = protocol.border == scale and protocol.bicubic_only == (network == "bicubic")
    return is_whole_set and counts_gray_alike and is_papers_protocol


def _fields(each: Difference) -> dict[str, Any]:
    one = each.reference
    values = (one.psnr, each.psnr, one.ssim, each.ssim, one.training, one.verified, " ".join(one.sources))
    return dict(zip(_FIELDS, values, strict=True))


def _line(each: Difference) -> str:
    ssim = "" if each.ssim is None else f" and SSIM {each.ssim:+.4f}"
    reference = each.reference
    return (
        f"{each.set_name}, {each.protocol}: {each.psnr:+.3f} dB{ssim} from the published {reference.shown} "
        f"(trained on {reference.training}; {', '.join(reference.sources)})"
    )
