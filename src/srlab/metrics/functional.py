"""PSNR and SSIM, and the protocols that say of what.

Neither comes from torchmetrics, though its values serve the tests: its SSIM averages over reflected borders
too (1e-3 off), and cutting them off its full image is exact but takes twenty times as long in float64 as the
separable filters here; its PSNR takes logarithms of its constants in float32 (up to 2e-6 dB off).
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from srlab.config import Arithmetic, ColorSpace, GrayRule, InputPadding, ProtocolConfig
from srlab.ops.color import gray_level, luma_double, luma_eight_bit, luma_single

__all__ = [
    "Score",
    "cut_border",
    "least_side",
    "papers_gray_rule",
    "protocol_label",
    "psnr",
    "score",
    "score_planes",
    "ssim",
    "to_levels",
]

# Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.
_WINDOW_SIDE = 11
_WINDOW_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03

_LUMA = {
    Arithmetic.double: luma_double,
    Arithmetic.single: luma_single,
    Arithmetic.eight_bit: luma_eight_bit,
}


class Score(NamedTuple):
    """Of one image, 0-dimensional float64."""

    psnr: Tensor
    ssim: Tensor


def psnr(restored: Tensor, reference: Tensor, *, peak: float) -> Tensor:
    """Peak signal-to-noise ratio in dB for each image of a batch.

    Args:
        restored: (B, C, H, W), same range as ``reference``.
        reference: (B, C, H, W).
        peak: largest possible value, 1 or 255.

    Returns:
        (B,) in float64; infinite where the images are equal.
    """
    _check_same_shape(restored, reference)
    error = restored.to(torch.float64) - reference.to(torch.float64)
    return 10 * torch.log10(peak**2 / error.square().mean(dim=(1, 2, 3)))


def ssim(restored: Tensor, reference: Tensor, *, peak: float) -> Tensor:
    """Structural similarity for each image of a batch, mean over channels and over all windows inside it.

    Args:
        restored: (B, C, H, W), same range as ``reference``; computed in its dtype, at least float32.
        reference: (B, C, H, W).
        peak: largest possible value, 1 or 255.

    Returns:
        (B,) in float64.
    """
    _check_same_shape(restored, reference)
    height, width = restored.shape[-2:]
    if min(height, width) < _WINDOW_SIDE:
        raise ValueError(
            f"SSIM needs at least {_WINDOW_SIDE}x{_WINDOW_SIDE} pixels, got {height}x{width}; "
            "score larger images or a smaller border"
        )
    dtype = torch.promote_types(restored.dtype, torch.float32)
    x, y = restored.to(dtype).flatten(0, 1)[:, None], reference.to(dtype).flatten(0, 1)[:, None]
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x.square()
    variance_y = _blur(y * y) - mean_y.square()
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    contrast = (2 * covariance + c2) / (variance_x + variance_y + c2)
    similarity = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1) * contrast
    return similarity.unflatten(0, restored.shape[:2]).mean(dim=(1, 2, 3, 4)).to(torch.float64)


def score(sr_image: Tensor, hr_image: Tensor, protocol: ProtocolConfig) -> Score:
    """Compare a restored image with its reference as ``protocol`` says.

    What a gray reference counts as, ``protocol.gray`` says. Where it is its own luma, the restored RGB counts
    with the gray value of the same luma (``gray_level``: for equal channels their common value), in every
    colour space.

    Args:
        sr_image: (3, H, W) floating point in [0, 1], not necessarily clamped.
        hr_image: (3, H, W) or gray (1, H, W), uint8.
        protocol: its border is in pixels of these images.
    """
    if protocol.bicubic_only:
        raise ValueError(
            f"protocol {protocol.name!r} scores only bicubic interpolation, from the HR image alone; "
            "use srlab.metrics.bicubic.score_bicubic, or another protocol for a network"
        )
    _check_pair(sr_image, hr_image)
    restored = cut_border(to_levels(sr_image, quantize=protocol.quantize), protocol)
    reference = cut_border(hr_image, protocol)
    if len(reference) == 1 and protocol.gray is GrayRule.own:
        return score_planes(*_gray_planes(restored, reference, protocol.arithmetic))
    reference = reference.expand(restored.shape)
    if protocol.color is ColorSpace.rgb:
        return score_planes(restored.to(torch.float64), reference.to(torch.float64))
    luma = _LUMA[protocol.arithmetic]
    return score_planes(luma(restored), luma(reference))


def score_planes(restored: Tensor, reference: Tensor) -> Score:
    """PSNR and SSIM of (C, H, W) planes in 0..255, border already cut."""
    pair = restored[None], reference[None]
    return Score(psnr(*pair, peak=255.0)[0], ssim(*pair, peak=255.0)[0])


def to_levels(image: Tensor, *, quantize: bool) -> Tensor:
    """[0, 1] to 0..255, clamped, at least float32; ``quantize`` rounds (half to even, as numpy)."""
    levels = image.to(torch.promote_types(image.dtype, torch.float32)).clamp(0, 1) * 255
    return levels.round() if quantize else levels


def protocol_label(protocol: ProtocolConfig) -> str:
    """Name for tables; tells an input padding and a gray rule apart that are not the usual ones."""
    padding = "" if protocol.padding is InputPadding.model else f"+{protocol.padding.name}"
    gray = "" if protocol.gray is papers_gray_rule(protocol) else f"+gray_{protocol.gray.name}"
    return f"{protocol.name}{padding}{gray}"


def papers_gray_rule(protocol: ProtocolConfig) -> GrayRule:
    """What a gray reference counts as in the published tables that a protocol is for.

    Rows of networks replicate: Set14 of the published HiT-SRF x4 is 28.873 dB so and 28.779 dB with the gray
    values as luma, and the paper prints 28.87. Bicubic rows, made with MATLAB, keep the gray values.
    """
    return GrayRule.own if protocol.bicubic_only else GrayRule.replicate


def _gray_planes(restored: Tensor, reference: Tensor, arithmetic: Arithmetic) -> tuple[Tensor, Tensor]:
    gray = gray_level(restored)
    if arithmetic is Arithmetic.eight_bit:
        gray = torch.floor(gray + 0.5)
    dtype = torch.float32 if arithmetic is Arithmetic.single else torch.float64
    return gray.to(dtype), reference.to(dtype)


def _blur(planes: Tensor) -> Tensor:
    """Gaussian-weighted mean over every window that lies inside (N, 1, H, W)."""
    offsets = torch.arange(_WINDOW_SIDE, dtype=planes.dtype, device=planes.device) - _WINDOW_SIDE // 2
    weights = torch.exp(-offsets.square() / (2 * _WINDOW_SIGMA**2))
    weights = weights / weights.sum()
    return F.conv2d(F.conv2d(planes, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))


def cut_border(image: Tensor, protocol: ProtocolConfig) -> Tensor:
    """Leave the protocol's border out of (C, H, W); what remains must hold at least one SSIM window."""
    border = protocol.border
    height, width = image.shape[-2:]
    if border < 0:
        raise ValueError(f"protocol {protocol.name!r}: border must be 0 or more, got {border}")
    if min(height, width) - 2 * border < _WINDOW_SIDE:
        raise ValueError(
            f"protocol {protocol.name!r}: a {height}x{width} image less a border of {border} on each side is "
            f"smaller than SSIM's {_WINDOW_SIDE}x{_WINDOW_SIDE} window; leave the image out or use a smaller "
            "border"
        )
    return image[..., border : height - border, border : width - border]


def least_side(protocols: Iterable[ProtocolConfig]) -> int:
    """HR pixels that each side of an image needs under all protocols: one SSIM window less the borders."""
    return max((_WINDOW_SIDE + 2 * protocol.border for protocol in protocols), default=1)


def _check_pair(sr_image: Tensor, hr_image: Tensor) -> None:
    if not sr_image.is_floating_point() or hr_image.dtype is not torch.uint8:
        raise ValueError(
            "sr_image must be floating point in [0, 1] and hr_image uint8, got "
            f"{sr_image.dtype} and {hr_image.dtype}"
        )
    shapes = tuple(sr_image.shape), tuple(hr_image.shape)
    if sr_image.ndim != 3 or hr_image.ndim != 3 or len(sr_image) != 3 or len(hr_image) not in (1, 3):
        raise ValueError(
            "sr_image must be (3, H, W) and hr_image (3, H, W) or (1, H, W), got "
            f"{shapes[0]} and {shapes[1]}; score the images of a batch one by one"
        )
    if shapes[0][1:] != shapes[1][1:]:
        raise ValueError(
            f"sr_image and hr_image differ in size: {shapes[0][1:]} and {shapes[1][1:]}; "
            "crop the HR image to scale times the LR size"
        )


def _check_same_shape(restored: Tensor, reference: Tensor) -> None:
    if restored.shape != reference.shape or restored.ndim != 4 or math.prod(restored.shape) == 0:
        raise ValueError(
            "restored and reference must be (B, C, H, W) of one shape and not empty, "
            f"got {tuple(restored.shape)} and {tuple(reference.shape)}"
        )
