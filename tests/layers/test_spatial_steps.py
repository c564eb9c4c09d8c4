import pytest
from torch import nn

from srlab.layers.spatial_steps import steps_of
from srlab.ops.reach import Neighbours, Upsampling


def test_parts_are_listed_in_order_and_those_that_stay_in_a_pixel_left_out():
    module = nn.Sequential(
        nn.Conv2d(3, 8, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 12, 3, padding=2, dilation=2),
    )
    assert steps_of(module, nn.PixelShuffle(2)) == [Neighbours(2), Neighbours(2), Upsampling(2)]


def test_an_unknown_part_is_refused_by_name():
    with pytest.raises(ValueError, match="MaxPool2d may move information between pixels"):
        steps_of(nn.Sequential(nn.Conv2d(3, 3, 3), nn.MaxPool2d(3, stride=1, padding=1)))
    with pytest.raises(ValueError, match="stride"):
        steps_of(nn.Conv2d(3, 3, 3, stride=2))
