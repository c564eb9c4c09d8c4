"""Scores one network on whole images, set by set, under several protocols."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from srlab.atomic_files import atomic_write
from srlab.counts.probe import device_name, dtype_name, evaluation_mode
from srlab.data.evaluation import EvaluationSet
from srlab.metrics.protocol import ProtocolConfig, protocol_label
from srlab.metrics.registry import DEFAULT_METRICS, ready_metrics
from srlab.metrics.scoring import check_alone, score, score_alone, score_bicubic
from srlab.models.bicubic import Bicubic
from srlab.models.network import Network
from srlab.ops.input_padding import InputPadding
from srlab.tasks.comparison import to_picture
from srlab.tasks.restoration import WHOLE, Progress, Restoration, is_own_scale, restore_padded, result_size
from srlab.terminal.progress import tracked

log = logging.getLogger(__name__)

_LONGEST_STEM = 200  # bytes of a saved picture's name without its ending


@dataclass(frozen=True)
class ImageRecord:
    """One image under one protocol.

    Attributes:
        scores: {metric: value}.
        height: of the image that was scored.
        width: likewise.
        gray: whether the reference is a gray file.
        gray_rule: how such files are treated, the name of a :class:`GrayRule`.
        lr_source: ``file``, ``made`` (8 bits), ``float`` (made within the protocol, never rounded) or
            ``without HR``.
        tile: LR side of the tiles that it was restored in; 0: as a whole.
    """

    set_name: str
    name: str
    protocol: str
    scores: Mapping[str, float]
    height: int
    width: int
    gray: bool
    gray_rule: str
    lr_source: str
    tile: int = 0


@dataclass(frozen=True)
class SetMean:
    """Means over the images of a set of their own scores."""

    set_name: str
    protocol: str
    images: int
    scores: Mapping[str, float]
    gray_images: tuple[str, ...]
    gray_rule: str
    lr_source: str


@dataclass(frozen=True)
class EvaluationReport:
    """What was scored and how; which protocols did not apply to the network, which sets were absent.

    Attributes:
        scale: HR side / LR side.
        resized_from: scale that the network ran at, if bicubic interpolation made the exact size of its
            result; None: the network made that size itself.
    """

    scale: float
    device: str
    dtype: str
    protocols: tuple[ProtocolConfig, ...]
    means: tuple[SetMean, ...]
    images: tuple[ImageRecord, ...]
    skipped_protocols: tuple[str, ...] = ()
    absent_sets: tuple[str, ...] = ()
    restoration: Restoration = WHOLE
    resized_from: int | None = None


def evaluate(
    network: Network,
    sets: Sequence[EvaluationSet],
    protocols: Sequence[ProtocolConfig],
    *,
    scale: float,
    device: torch.device | str,
    metrics: Sequence[str] = DEFAULT_METRICS,
    restoration: Restoration = WHOLE,
    save_images: Path | None = None,
    most_saved: int | None = None,
    absent_sets: Sequence[str] = (),
    progress: bool = False,
) -> EvaluationReport:
    """Restore every image once for each input padding in use and score it under every protocol.

    The network runs on ``device``, in its own dtype and in evaluation mode; its mode is restored after.
    Results of one that has a scale of its own are resized if ``scale`` is not whole. Samples with ``counted``
    False are left out. Protocols need distinct names; those with ``bicubic_only`` are skipped unless the
    network is ``Bicubic``. ``restoration`` says in which parts, and how often, an image is restored.
    ``save_images`` is a folder for ``<set>/<name>_x<scale>.png``, below a folder for each input padding if
    there are several; ``most_saved`` limits it to the first images. ``absent_sets`` were asked for and do not
    exist: the report names them.
    """
    device = torch.device(device)
    ready_metrics(metrics)
    _check_arguments(network, sets, protocols, scale)
    usable, skipped = _split_protocols(network, protocols)
    check_alone([dataset.name for dataset in sets if not dataset.has_references], usable, metrics)
    scorer = _Scorer(network, usable, metrics, device, restoration, scale)
    items = [(dataset, index) for dataset in sets for index in range(len(dataset))]
    records: list[ImageRecord] = []
    with evaluation_mode(network.to(device)):
        for dataset, index in tracked(items, "scoring", total=len(items), shown=progress):
            records += scorer.score(dataset[index], save_images, most_saved)
    return EvaluationReport(
        scale=scale,
        device=device_name(device),
        dtype=dtype_name(_network_dtype(network)),
        protocols=tuple(usable),
        means=_set_means(records),
        images=tuple(records),
        skipped_protocols=tuple(skipped),
        absent_sets=tuple(absent_sets),
        restoration=restoration,
        resized_from=None if is_own_scale(network, scale) else network.scale,
    )


def saved_image(set_name: str, name: str, scale: float) -> Path:
    """Where a restored image is saved, below the folder for images; distinct names get distinct files."""
    folder, _, stem = name.rpartition("/")
    if len(stem.encode()) > _LONGEST_STEM:  # file systems hold 255 bytes of a name
        digest = hashlib.sha256(stem.encode()).hexdigest()[:8]
        stem = f"{stem.encode()[: _LONGEST_STEM - 9].decode(errors='ignore')}~{digest}"
    return Path(set_name) / folder / f"{stem}_x{scale:g}.png"


@dataclass
class _Scorer:
    """One network under several protocols."""

    network: Network
    protocols: Sequence[ProtocolConfig]
    metrics: Sequence[str]
    device: torch.device
    restoration: Restoration
    scale: float
    scored: int = 0

    def score(
        self, sample: Mapping[str, Any], images: Path | None, most_saved: int | None
    ) -> list[ImageRecord]:
        """One record for each protocol; the first restored images are saved below ``images``."""
        if not sample.get("counted", True):
            return []
        self.scored += 1
        lr_image = sample["lr_image"].to(self.device)[None].to(_network_dtype(self.network)) / 255
        size = result_size(self.network, sample, self.scale)
        restored, tiles = {}, {}
        for padding in dict.fromkeys(each.padding for each in self.protocols if not each.bicubic_only):
            steps: list[Progress] = []
            restored[padding] = restore_padded(
                self.network, lr_image, padding, self.restoration, on_progress=steps.append, size=size
            )[0]
            tiles[padding] = steps[-1].tile
        if images is not None and (most_saved is None or self.scored <= most_saved):
            for padding, sr_image in restored.items():
                folder = images / padding.name if len(restored) > 1 else images
                name = saved_image(sample["set_name"], sample["name"], self.scale)
                with atomic_write(folder / name) as partial:
                    to_picture(sr_image).save(partial, format="PNG")
        return [
            self._record(sample, restored, protocol, tile=tiles.get(protocol.padding, 0))
            for protocol in self.protocols
        ]

    def _record(
        self,
        sample: Mapping[str, Any],
        restored: Mapping[InputPadding, Tensor],
        protocol: ProtocolConfig,
        *,
        tile: int,
    ) -> ImageRecord:
        hr_image = sample["hr_image"].to(self.device) if "hr_image" in sample else None
        try:
            if hr_image is None:
                scores = score_alone(restored[protocol.padding], protocol, self.metrics)
            elif protocol.bicubic_only:
                scores = score_bicubic(hr_image, scale=self.scale, protocol=protocol, metrics=self.metrics)
            else:
                scores = score(restored[protocol.padding], hr_image, protocol, self.metrics)
        except ValueError as error:
            raise ValueError(f"{sample['set_name']}, image {sample['name']}: {error}") from error
        scored = restored[protocol.padding] if hr_image is None else hr_image
        height, width = scored.shape[-2:]
        return ImageRecord(
            set_name=sample["set_name"],
            name=sample["name"],
            protocol=protocol_label(protocol),
            scores={name: value.item() for name, value in scores.items()},
            height=height,
            width=width,
            gray=len(scored) == 1,
            gray_rule=protocol.gray.name,
            lr_source="float" if protocol.bicubic_only else sample["lr_source"],
            tile=0 if protocol.bicubic_only else tile,
        )


def _set_means(records: Sequence[ImageRecord]) -> tuple[SetMean, ...]:
    groups: dict[tuple[str, str], list[ImageRecord]] = {}
    for record in records:
        groups.setdefault((record.set_name, record.protocol), []).append(record)
    return tuple(
        SetMean(
            set_name=set_name,
            protocol=protocol,
            images=len(group),
            scores={name: fmean(record.scores[name] for record in group) for name in group[0].scores},
            gray_images=tuple(record.name for record in group if record.gray),
            gray_rule=group[0].gray_rule,
            lr_source=" and ".join(sorted({record.lr_source for record in group})),
        )
        for (set_name, protocol), group in groups.items()
    )


def _split_protocols(
    network: Network, protocols: Sequence[ProtocolConfig]
) -> tuple[list[ProtocolConfig], list[str]]:
    """Those that apply to the network, and the names of the others."""
    is_bicubic, kind = isinstance(network, Bicubic), type(network).__name__
    usable = [protocol for protocol in protocols if is_bicubic or not protocol.bicubic_only]
    skipped = [protocol.name for protocol in protocols if protocol not in usable]
    if not usable:
        raise ValueError(
            f"no protocol left for {kind}: {', '.join(skipped) or 'none was given'} scores only "
            "model=bicubic; add protocol=[basicsr]"
        )
    for name in skipped:
        log.info("protocol %s scores only model=bicubic and is skipped for %s", name, kind)
    return usable, skipped


def _check_arguments(
    network: Network, sets: Sequence[EvaluationSet], protocols: Sequence[ProtocolConfig], scale: float
) -> None:
    if not is_own_scale(network, scale) and scale == int(scale):
        raise ValueError(
            f"the network has scale {network.scale}, the data need {scale}; set scale={network.scale}"
        )
    if not sum(len(dataset) for dataset in sets):
        raise ValueError("nothing to score: no set holds an image; check data.root and data.sets")
    labels = [protocol_label(protocol) for protocol in protocols]
    if len(set(labels)) < len(labels):
        raise ValueError(f"protocols must have distinct names, got {', '.join(labels)}; rename one of them")


def _network_dtype(network: Network) -> torch.dtype:
    floating = (parameter.dtype for parameter in network.parameters() if parameter.is_floating_point())
    return next(floating, torch.float32)
