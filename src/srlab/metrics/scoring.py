"""Scores one restored image under a protocol: cuts the border, converts colours, computes the metrics."""

import logging
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from srlab.metrics.protocol import Arithmetic, ColorSpace, GrayRule, ProtocolConfig, border_pixels
from srlab.metrics.registry import DEFAULT_METRICS, Metric, find_metric
from srlab.ops.axis import corresponding_sides
from srlab.ops.color import gray_level, luma_double, luma_eight_bit, luma_single
from srlab.ops.resize import imresize

log = logging.getLogger(__name__)

_LUMA = {
    Arithmetic.double: luma_double,
    Arithmetic.single: luma_single,
    Arithmetic.eight_bit: luma_eight_bit,
}


def score(
    sr_image: Tensor, hr_image: Tensor, protocol: ProtocolConfig, metrics: Iterable[str] = DEFAULT_METRICS
) -> dict[str, Tensor]:
    """Compare a restored image with its reference as ``protocol`` says.

    ``protocol.gray`` says how a gray reference is treated. Where it is its own luma, the restored RGB counts
    with the gray value of the same luma (``gray_level``: for equal channels their common value), in every
    colour space. Metrics that need RGB take the reference as three equal channels.

    Args:
        sr_image: (3, H, W) floating point in [0, 1], not necessarily clamped.
        hr_image: (3, H, W) or gray (1, H, W), uint8.
        protocol: its border is in pixels of these images.
        metrics: their names.

    Returns:
        {metric: value}, 0-dimensional float64.
    """
    if protocol.bicubic_only:
        raise ValueError(
            f"protocol {protocol.name!r} scores only bicubic interpolation, from the HR image alone; "
            "use srlab.metrics.scoring.score_bicubic, or another protocol for a network"
        )
    _check_pair(sr_image, hr_image)
    restored = _cut_border(to_levels(sr_image, quantize=protocol.quantize), protocol)
    reference = _cut_border(hr_image, protocol)
    return _values(restored, reference, protocol, map(find_metric, metrics))


def score_alone(sr_image: Tensor, protocol: ProtocolConfig, metrics: Iterable[str]) -> dict[str, Tensor]:
    """Judge a restored image that has no reference, as ``protocol`` says.

    Args:
        sr_image: (3, H, W) floating point in [0, 1], not necessarily clamped.
        protocol: not one with ``bicubic_only``.
        metrics: names; those that need a reference are left out.

    Returns:
        {metric: value}, 0-dimensional float64.
    """
    chosen = [metric for metric in map(find_metric, metrics) if not metric.needs_reference]
    restored = _cut_border(to_levels(sr_image, quantize=protocol.quantize), protocol)
    # in the place of a reference, which these metrics never see
    return _values(restored, restored, protocol, chosen)


def check_alone(
    set_names: Sequence[str], protocols: Iterable[ProtocolConfig], metrics: Sequence[str]
) -> None:
    """Log which metrics the images of sets without HR lack, if there are such sets.

    Raises:
        ValueError: one of the protocols, or every metric, needs HR.
    """
    if not set_names:
        return
    names = ", ".join(set_names)
    if needing := [protocol.name for protocol in protocols if protocol.bicubic_only]:
        raise ValueError(
            f"protocol {needing[0]!r} starts from HR, and there is none of {names}; use protocol=[basicsr]"
        )
    absent = [name for name in metrics if find_metric(name).needs_reference]
    if len(absent) == len(metrics):
        raise ValueError(f"{', '.join(absent)} need HR, and there is none of {names}; use metrics=[niqe]")
    if absent:
        log.info("there is no HR of %s, so no %s", names, ", ".join(absent))


def score_bicubic(
    hr_image: Tensor, *, scale: float, protocol: ProtocolConfig, metrics: Iterable[str] = DEFAULT_METRICS
) -> dict[str, Tensor]:
    """Score bicubic interpolation of the 8-bit luma: the bicubic rows of tables, which come from MATLAB.

    The HR image is cropped to what whole LR pixels cover, its luma rounded to 8 bits (a gray image is its own
    luma under ``gray=own``, three equal channels under ``gray=replicate``). The downsampled image is not
    rounded, the upsampled one is clipped and rounded to 8 bits. No LR file is used.

    Args:
        hr_image: (3, H, W) or gray (1, H, W), uint8.
        scale: factor of the downsampling and upsampling.
        protocol: one with ``bicubic_only``.
        metrics: their names; none that needs RGB.
    """
    chosen = [find_metric(name) for name in metrics]
    _check_bicubic(protocol, chosen)
    rows, columns = (corresponding_sides(side, scale) for side in hr_image.shape[-2:])
    cropped = hr_image[..., : rows[1], : columns[1]]
    is_luma = len(hr_image) == 1 and protocol.gray is GrayRule.own
    reference = cropped.to(torch.float64) if is_luma else luma_eight_bit(cropped.expand(3, -1, -1))
    small = imresize(reference, size=(rows[0], columns[0]), mode="float")
    upsampled = imresize(small, size=(rows[1], columns[1]), mode="float")
    restored = torch.floor(upsampled.clamp(0, 255) + 0.5)
    restored, reference = _cut_border(restored, protocol), _cut_border(reference, protocol)
    return {metric.name: _value(metric, restored, reference) for metric in chosen}


def to_levels(image: Tensor, *, quantize: bool) -> Tensor:
    """[0, 1] to 0..255, clamped, at least float32; ``quantize`` rounds (half to even, as numpy)."""
    levels = image.to(torch.promote_types(image.dtype, torch.float32)).clamp(0, 1) * 255
    return levels.round() if quantize else levels


def least_side(protocols: Iterable[ProtocolConfig], metrics: Iterable[str] = DEFAULT_METRICS) -> int:
    """HR pixels that each side of an image needs under all protocols and metrics."""
    side = max((find_metric(name).least_side for name in metrics), default=1)
    return max((side + 2 * border_pixels(protocol) for protocol in protocols), default=1)


def _values(
    restored: Tensor, reference: Tensor, protocol: ProtocolConfig, metrics: Iterable[Metric]
) -> dict[str, Tensor]:
    """Of (3, H, W) and (3 or 1, H, W), 0..255, without their borders."""
    planes = _protocol_planes(restored, reference, protocol)
    rgb = restored.to(torch.float64), reference.expand(restored.shape).to(torch.float64)
    return {metric.name: _value(metric, *(rgb if metric.needs_rgb else planes)) for metric in metrics}


def _value(metric: Metric, restored: Tensor, reference: Tensor) -> Tensor:
    return metric(restored[None], reference[None], peak=255.0)[0]


def _protocol_planes(restored: Tensor, reference: Tensor, protocol: ProtocolConfig) -> tuple[Tensor, Tensor]:
    """Both images in the protocol's colour space and precision, 0..255."""
    if len(reference) == 1 and protocol.gray is GrayRule.own:
        gray = gray_level(restored)
        if protocol.arithmetic is Arithmetic.eight_bit:
            gray = torch.floor(gray + 0.5)
        dtype = torch.float32 if protocol.arithmetic is Arithmetic.single else torch.float64
        return gray.to(dtype), reference.to(dtype)
    reference = reference.expand(restored.shape)
    if protocol.color is ColorSpace.rgb:
        return restored.to(torch.float64), reference.to(torch.float64)
    luma = _LUMA[protocol.arithmetic]
    return luma(restored), luma(reference)


def _cut_border(image: Tensor, protocol: ProtocolConfig) -> Tensor:
    """Leave the protocol's border out of (C, H, W)."""
    border = border_pixels(protocol)
    if 2 * border >= min(image.shape[-2:]):
        raise ValueError(
            f"protocol {protocol.name!r} leaves nothing of {tuple(image.shape)}: its border is {border}"
        )
    return image[..., border : image.shape[-2] - border, border : image.shape[-1] - border]


def _check_bicubic(protocol: ProtocolConfig, metrics: Iterable[Metric]) -> None:
    rules = (protocol.bicubic_only, protocol.color, protocol.arithmetic, protocol.quantize)
    if rules != (True, ColorSpace.y, Arithmetic.eight_bit, True):
        raise ValueError(
            "score_bicubic needs bicubic_only=True, color=y, arithmetic=eight_bit, quantize=True, got "
            f"{protocol}; use protocol=published_y"
        )
    if rgb := [metric.name for metric in metrics if metric.needs_rgb]:
        raise ValueError(
            f"metric {rgb[0]} compares RGB, and protocol {protocol.name!r} restores the luma alone: leave "
            f"{rgb[0]} out of metrics, or use protocol=[basicsr]"
        )


def _check_pair(sr_image: Tensor, hr_image: Tensor) -> None:
    if not sr_image.is_floating_point() or hr_image.dtype is not torch.uint8:
        raise ValueError(
            "sr_image must be floating point in [0, 1] and hr_image uint8, got "
            f"{sr_image.dtype} and {hr_image.dtype}"
        )
    shapes = tuple(sr_image.shape), tuple(hr_image.shape)
    if shapes[0] != (3, *shapes[1][1:]) or len(shapes[1]) != 3 or shapes[1][0] not in (1, 3):
        raise ValueError(
            f"sr_image must be (3, H, W) and hr_image (3 or 1, H, W), got {shapes[0]} and {shapes[1]}; score "
            "the images of a batch one by one, and crop HR to scale times the LR size"
        )
