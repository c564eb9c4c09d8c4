"""Pixel shuffle stages."""

import pytest
import torch

from srlab.layers.upsample import pixel_shuffle_stages


@pytest.mark.parametrize(
    ("scale", "widths"), [(1, []), (2, [16]), (3, [36]), (4, [16, 16]), (8, [16, 16, 16])]
)
def test_stages_enlarge_by_the_scale_with_the_published_widths(scale, widths):
    stages = pixel_shuffle_stages(scale=scale, channels=4)
    assert [stage.out_channels for stage in stages if hasattr(stage, "out_channels")] == widths
    assert stages(torch.rand(1, 4, 3, 2)).shape == (1, 4, 3 * scale, 2 * scale)


@pytest.mark.parametrize("scale", [5, 6, 0])
def test_other_scales_are_refused(scale):
    with pytest.raises(ValueError, match=rf"scale 3 and powers of two, got scale={scale}"):
        pixel_shuffle_stages(scale=scale, channels=4)
