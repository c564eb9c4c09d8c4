"""Scoring one network on whole images, set by set, under every protocol asked for."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from srlab.atomic_files import atomic_write
from srlab.counts.probe import device_name, dtype_name, evaluation_mode
from srlab.extensions.lab.memory import explain_out_of_memory
from srlab.metrics.protocol import ProtocolConfig, protocol_label
from srlab.metrics.scoring import Score, score, score_bicubic, to_levels
from srlab.models.bicubic import Bicubic
from srlab.models.network import Network
from srlab.ops.input_padding import InputPadding, pad_input
from srlab.tasks.cuda_graphs import GraphedNetwork
from srlab.terminal.progress import tracked

__all__ = [
    "EvaluationReport",
    "EvaluationSet",
    "ImageRecord",
    "SetMean",
    "evaluate",
    "restore",
    "saved_image",
]

log = logging.getLogger(__name__)

_LONGEST_STEM = 200  # bytes of a saved picture's name without its ending


class EvaluationSet(Protocol):
    """Images with references.

    Samples hold ``lr_image``, ``hr_image`` (uint8), ``name``, ``set_name``, ``counted`` and ``lr_source``.
    """

    name: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class ImageRecord:
    """One image under one protocol; ``height`` and ``width`` are those of the HR image that was scored.

    ``gray``: the reference is a gray file. ``gray_rule``: what such files count as, the name of a
    :class:`GrayRule`. ``lr_source``: ``file``, ``made`` (8
    bits) or ``float`` (made within the protocol, never rounded).
    """

    set_name: str
    name: str
    protocol: str
    psnr: float
    ssim: float
    height: int
    width: int
    gray: bool
    gray_rule: str
    lr_source: str


@dataclass(frozen=True)
class SetMean:
    """Means over the images of a set of their own PSNR and SSIM."""

    set_name: str
    protocol: str
    images: int
    psnr: float
    ssim: float
    gray_images: tuple[str, ...]
    gray_rule: str
    lr_source: str


@dataclass(frozen=True)
class EvaluationReport:
    """What was scored and how; which protocols did not apply to the network, which sets were not there."""

    scale: int
    device: str
    dtype: str
    protocols: tuple[ProtocolConfig, ...]
    means: tuple[SetMean, ...]
    images: tuple[ImageRecord, ...]
    skipped_protocols: tuple[str, ...]
    absent_sets: tuple[str, ...]


def evaluate(
    network: Network,
    sets: Sequence[EvaluationSet],
    protocols: Sequence[ProtocolConfig],
    *,
    scale: int,
    device: torch.device | str,
    save_images: Path | None,
    progress: bool,
    absent_sets: Sequence[str] = (),
    cuda_graphs: bool = False,
    most_saved: int | None = None,
) -> EvaluationReport:
    """Restore every image once for each input padding in use and score it under every protocol.

    The network runs on ``device``, in its own dtype and in evaluation mode, left there in the mode that
    it came in. Samples with ``counted`` False are left out. Protocols need distinct names; those with
    ``bicubic_only`` are skipped unless the network is ``Bicubic``. ``save_images`` is a folder for
    ``<set>/<name>_x<scale>.png``, below a folder for each input padding if there are several; ``most_saved``
    limits it to the first images. ``absent_sets`` were asked for and are not there: the report names them.
    ``cuda_graphs`` restores images through :class:`GraphedNetwork`.
    """
    device = torch.device(device)
    _check_arguments(network, sets, protocols, scale)
    usable, skipped = _split_protocols(network, protocols)
    items = [(dataset, index) for dataset in sets for index in range(len(dataset))]
    bar = tracked(items, "scoring", total=len(items), shown=progress)
    called = GraphedNetwork(network) if cuda_graphs else network
    with evaluation_mode(network.to(device)):
        samples = (sample for dataset, index in bar if (sample := dataset[index])["counted"])
        saved = repeat(save_images) if most_saved is None else repeat(save_images, most_saved)
        scored = (
            _score_sample(called, sample, usable, device, folder)
            for sample, folder in zip(samples, chain(saved, repeat(None)), strict=False)
        )
        records = list(chain.from_iterable(scored))
    return EvaluationReport(
        scale=scale,
        device=device_name(device),
        dtype=dtype_name(_network_dtype(network)),
        protocols=tuple(usable),
        means=_set_means(records),
        images=tuple(records),
        skipped_protocols=tuple(skipped),
        absent_sets=tuple(absent_sets),
    )


def restore(network: Network | GraphedNetwork, lr_image: Tensor, padding: InputPadding) -> Tensor:
    """(B, 3, H, W) in [0, 1] to (B, 3, sH, sW), with the input padding that a protocol asks for."""
    height, width = lr_image.shape[-2:]
    padded = pad_input(lr_image, network.size_multiple, padding)
    return network(padded)[..., : height * network.scale, : width * network.scale]


def saved_image(set_name: str, name: str, scale: int) -> Path:
    """Where a restored image is saved, below the folder for images; names that differ are kept apart."""
    folder, _, stem = name.rpartition("/")
    return Path(set_name) / folder / f"{_fitting(stem)}_x{scale}.png"


def _fitting(stem: str) -> str:
    """With room for what is put before and behind it: file systems hold 255 bytes of a name."""
    if len(stem.encode()) <= _LONGEST_STEM:
        return stem
    digest = hashlib.sha256(stem.encode()).hexdigest()[:8]
    return f"{stem.encode()[: _LONGEST_STEM - 9].decode(errors='ignore')}~{digest}"


def _score_sample(
    network: Network | GraphedNetwork,
    sample: Mapping[str, Any],
    protocols: Sequence[ProtocolConfig],
    device: torch.device,
    save_images: Path | None,
) -> list[ImageRecord]:
    hr_image = sample["hr_image"].to(device)
    paddings = dict.fromkeys(protocol.padding for protocol in protocols if not protocol.bicubic_only)
    restored = {
        padding: _restore_sample(network, sample["lr_image"].to(device), padding) for padding in paddings
    }
    if save_images is not None:
        for padding, sr_image in restored.items():
            folder = save_images / padding.name if len(paddings) > 1 else save_images
            _write_png(sr_image, folder / saved_image(sample["set_name"], sample["name"], network.scale))
    try:
        scores = [_score_one(restored, hr_image, protocol, network.scale) for protocol in protocols]
    except ValueError as error:
        raise ValueError(f"{sample['set_name']}, image {sample['name']}: {error}") from error
    return [_record(sample, p, result, network.scale) for p, result in zip(protocols, scores, strict=True)]


def _restore_sample(network: Network | GraphedNetwork, lr_image: Tensor, padding: InputPadding) -> Tensor:
    """uint8 (3, h, w) to float (3, sh, sw)."""
    lr_size = (lr_image.shape[-2], lr_image.shape[-1])
    dtype = _network_dtype(network.network if isinstance(network, GraphedNetwork) else network)
    with explain_out_of_memory(lr_size, lr_image.device):
        return restore(network, lr_image[None].to(dtype) / 255, padding)[0]


def _score_one(
    restored: Mapping[InputPadding, Tensor], hr_image: Tensor, protocol: ProtocolConfig, scale: int
) -> Score:
    if protocol.bicubic_only:
        return score_bicubic(hr_image, scale=scale, protocol=protocol)
    return score(restored[protocol.padding], hr_image, protocol)


def _record(sample: Mapping[str, Any], protocol: ProtocolConfig, result: Score, scale: int) -> ImageRecord:
    hr_image = sample["hr_image"]
    height, width = (side // scale * scale for side in hr_image.shape[-2:])
    return ImageRecord(
        set_name=sample["set_name"],
        name=sample["name"],
        protocol=protocol_label(protocol),
        psnr=result.psnr.item(),
        ssim=result.ssim.item(),
        height=height,
        width=width,
        gray=len(hr_image) == 1,
        gray_rule=protocol.gray.name,
        lr_source="float" if protocol.bicubic_only else sample["lr_source"],
    )


def _set_means(records: Sequence[ImageRecord]) -> tuple[SetMean, ...]:
    groups: dict[tuple[str, str], list[ImageRecord]] = {}
    for record in records:
        groups.setdefault((record.set_name, record.protocol), []).append(record)
    return tuple(_set_mean(group) for group in groups.values())


def _set_mean(group: Sequence[ImageRecord]) -> SetMean:
    return SetMean(
        set_name=group[0].set_name,
        protocol=group[0].protocol,
        images=len(group),
        psnr=fmean(record.psnr for record in group),
        ssim=fmean(record.ssim for record in group),
        gray_images=tuple(record.name for record in group if record.gray),
        gray_rule=group[0].gray_rule,
        lr_source=" and ".join(sorted({record.lr_source for record in group})),
    )


def _split_protocols(
    network: Network, protocols: Sequence[ProtocolConfig]
) -> tuple[list[ProtocolConfig], list[str]]:
    bicubic = isinstance(network, Bicubic)
    usable = [protocol for protocol in protocols if bicubic or not protocol.bicubic_only]
    skipped = [protocol.name for protocol in protocols if protocol not in usable]
    if not usable:
        raise ValueError(
            f"no protocol left for {type(network).__name__}: {', '.join(skipped) or 'none was given'} scores "
            "only model=bicubic; add protocol=[basicsr]"
        )
    for name in skipped:
        log.info("protocol %s scores only model=bicubic and is skipped for %s", name, type(network).__name__)
    return usable, skipped


def _check_arguments(
    network: Network, sets: Sequence[EvaluationSet], protocols: Sequence[ProtocolConfig], scale: int
) -> None:
    if network.scale != scale:
        raise ValueError(
            f"the network enlarges by {network.scale}, the data need {scale}; set scale={network.scale}"
        )
    if not sum(len(dataset) for dataset in sets):
        raise ValueError("nothing to score: no set holds an image; check data.root and data.sets")
    labels = [protocol_label(protocol) for protocol in protocols]
    if len(set(labels)) < len(labels):
        raise ValueError(f"protocols must have distinct names, got {', '.join(labels)}; rename one of them")


def _network_dtype(network: Network) -> torch.dtype:
    floating = (parameter.dtype for parameter in network.parameters() if parameter.is_floating_point())
    return next(floating, torch.float32)


def _write_png(image: Tensor, path: Path) -> None:
    """Appears whole or not at all, so that an interrupted run leaves no broken picture."""
    pixels = to_levels(image, quantize=True).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    with atomic_write(path) as partial:
        Image.fromarray(pixels).save(partial, format="PNG")
