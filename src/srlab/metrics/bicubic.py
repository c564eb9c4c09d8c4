"""The bicubic rows of published tables, which come from MATLAB scripts that work on the luma alone."""

import torch
from torch import Tensor

from srlab.config import Arithmetic, ColorSpace, GrayRule, ProtocolConfig
from srlab.metrics.functional import Score, cut_border, score_planes
from srlab.ops.color import luma_eight_bit
from srlab.ops.resize import imresize

__all__ = ["score_bicubic"]


def score_bicubic(hr_image: Tensor, *, scale: int, protocol: ProtocolConfig) -> Score:
    """Shrink and enlarge the 8-bit luma by ``scale`` and compare it with itself.

    The HR image is cropped to a multiple of ``scale``, its luma rounded to 8 bits (a gray image is its own
    luma under ``gray=own``, three equal channels under ``gray=replicate``); the small image is not rounded,
    the enlarged one is clipped and rounded to 8 bits. No LR file takes part.

    Args:
        hr_image: (3, H, W) or gray (1, H, W), uint8.
        scale: factor of the reduction and the enlargement.
        protocol: one with ``bicubic_only``.
    """
    _check_protocol(protocol)
    height, width = (side // scale * scale for side in hr_image.shape[-2:])
    cropped = hr_image[..., :height, :width]
    is_luma = len(hr_image) == 1 and protocol.gray is GrayRule.own
    reference = cropped.to(torch.float64) if is_luma else luma_eight_bit(cropped.expand(3, -1, -1))
    small = imresize(reference, size=(height // scale, width // scale), mode="float")
    enlarged = imresize(small, size=(height, width), mode="float")
    restored = torch.floor(enlarged.clamp(0, 255) + 0.5)
    return score_planes(cut_border(restored, protocol), cut_border(reference, protocol))


def _check_protocol(protocol: ProtocolConfig) -> None:
    rules = (protocol.bicubic_only, protocol.color, protocol.arithmetic, protocol.quantize)
    if rules != (True, ColorSpace.y, Arithmetic.eight_bit, True):
        raise ValueError(
            "score_bicubic needs bicubic_only=True, color=y, arithmetic=eight_bit, quantize=True, got "
            f"protocol {protocol.name!r} with bicubic_only={protocol.bicubic_only}, "
            f"color={protocol.color.name}, arithmetic={protocol.arithmetic.name}, "
            f"quantize={protocol.quantize}; use protocol=published_y"
        )
