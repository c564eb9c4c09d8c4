import math

import pytest
import torch

from protocols import basicsr, published_y
from srlab.metrics.protocol import ColorSpace, GrayRule
from srlab.metrics.scoring import score_bicubic


def ramp(height, width, channels=3):
    """Gray values that rise from left to right; bicubic interpolation keeps straight lines inside."""
    row = torch.arange(width, dtype=torch.float32) * 4 + 20
    return row.to(torch.uint8).expand(channels, height, width)


def test_flat_images_are_restored_exactly():
    result = score_bicubic(torch.full((3, 24, 24), 93, dtype=torch.uint8), scale=3, protocol=published_y(3))
    assert math.isinf(result["psnr"])


def test_a_ramp_is_restored_exactly_inside():
    result = score_bicubic(ramp(48, 48, channels=1), scale=2, protocol=published_y(16))
    assert math.isinf(result["psnr"])


def test_sides_are_cropped_to_a_multiple_of_the_scale():
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 41, 43), dtype=torch.uint8, generator=generator)
    expected = score_bicubic(image[:, :40, :40], scale=4, protocol=published_y(4))
    assert score_bicubic(image, scale=4, protocol=published_y(4)) == expected


def test_gray_images_are_their_own_luma_or_three_equal_channels():
    """A gray image spans 255/219 of the luma of the same values replicated: 1.32 dB less."""
    generator = torch.Generator().manual_seed(0)
    gray = torch.randint(0, 256, (1, 60, 60), dtype=torch.uint8, generator=generator)
    own = score_bicubic(gray, scale=2, protocol=published_y(2))["psnr"].item()
    replicated = score_bicubic(gray.expand(3, -1, -1), scale=2, protocol=published_y(2))["psnr"].item()
    assert replicated - own == pytest.approx(20 * math.log10(255 / 219), abs=0.1)
    protocol = published_y(2)
    protocol.gray = GrayRule.replicate
    assert score_bicubic(gray, scale=2, protocol=protocol)["psnr"].item() == replicated


def test_other_protocols_are_refused():
    image = torch.zeros(3, 24, 24, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"got ProtocolConfig.*bicubic_only=False.*use protocol=published_y"):
        score_bicubic(image, scale=2, protocol=basicsr(2))
    protocol = published_y(2)
    protocol.color = ColorSpace.rgb
    with pytest.raises(ValueError, match=r"color=<ColorSpace.rgb"):
        score_bicubic(image, scale=2, protocol=protocol)
