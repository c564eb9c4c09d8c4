"""Networks of any scale: parts of results, single pixels, sizes."""

from itertools import pairwise

import pytest
import torch
from torch.testing import assert_close

import srlab
from golden_files import golden_files, load_golden
from official_networks import deviation, rebuild
from preset_cases import narrowed
from srlab.models.any_scale import AnyScale
from srlab.models.bicubic import Bicubic
from srlab.models.esc.esc_lte import EscLTE
from srlab.models.registry import network_classes
from srlab.ops.axis import Axis
from srlab.ops.resize import imresize

SIZES = [(5, 7), (13, 29), (26, 31), (41, 18)]


def esc_lte() -> EscLTE:
    torch.manual_seed(0)
    network = srlab.create_model("esc_lte", scale=2, **narrowed("esc_lte"))
    assert isinstance(network, EscLTE)
    return network.double().eval()


@pytest.mark.parametrize("at", ["s2", "s3.3", "s6"])
@pytest.mark.parametrize("name", golden_files("esc/esc_lte_arb.npz", beyond_selection=True))
def test_sampled_pixels_are_the_official_ones(name, at):
    golden = load_golden(name)
    network = rebuild(EscLTE, golden).double()
    expected = golden.arrays[f"{at}/y"]  # (3, h, w), stored in float32
    size = tuple(expected.shape[1:])
    pixels = torch.randperm(size[0] * size[1], generator=torch.Generator().manual_seed(0))[None, :40]
    with torch.no_grad():
        result = network.sample(golden.arrays["x"].double() / 256, size, pixels)
    assert result.shape == (1, 3, 1, 40)
    rounding = expected.abs().max() * torch.finfo(torch.float32).eps
    assert deviation(result[0, :, 0], expected.flatten(1)[:, pixels[0]]) <= 1e-9 + rounding


def test_gradients_of_sampled_pixels_are_those_of_the_whole_result():
    network, image = esc_lte(), torch.rand(2, 3, 4, 5, dtype=torch.float64)
    pixels = torch.stack([torch.randperm(9 * 13)[:20] for _ in range(2)])
    picked = network.upsample(image, (9, 13)).flatten(2).gather(2, pixels[:, None].expand(-1, 3, -1))
    sampled = network.sample(image, (9, 13), pixels)[:, :, 0]
    assert_close(sampled, picked)
    weights = torch.rand_like(picked)
    parameters = list(network.parameters())
    ours, theirs = (torch.autograd.grad((result * weights).sum(), parameters) for result in (sampled, picked))
    assert_close(ours, theirs)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_bicubic_at_any_size_is_imresize(size):
    image = torch.rand(2, 3, 11, 9, dtype=torch.float64)
    assert torch.equal(Bicubic(scale=2).upsample(image, size), imresize(image, size=size, mode="float"))


@pytest.mark.parametrize("size", SIZES[1:], ids=str)
def test_bicubic_of_overlapping_parts_is_that_of_the_whole(size):
    """Parts with two pixels more on each side, where there are any."""
    image, network = torch.rand(1, 3, 13, 17, dtype=torch.float64), Bicubic(scale=3)
    rows, columns = Axis.whole(13, size[0]), Axis.whole(17, size[1])
    found = torch.full((1, 3, *size), torch.nan, dtype=torch.float64)
    for top, bottom in pairwise((0, 6, 13)):
        for left, right in pairwise((0, 4, 9, 17)):
            begin = max(0, top - 2), max(0, left - 2)
            part = image[..., begin[0] : bottom + 2, begin[1] : right + 2]
            axes = rows.between(top, bottom, start=begin[0]), columns.between(left, right, start=begin[1])
            place = found[..., axes[0].first : axes[0].stop, axes[1].first : axes[1].stop]
            place.copy_(network.restore_axes(part, *axes))
    assert torch.equal(found, network.upsample(image, size))


@pytest.mark.parametrize("network_class", [each for each in network_classes() if issubclass(each, AnyScale)])
def test_they_are_of_any_scale_by_the_same_weights(network_class):
    """``scale`` is a number that forward multiplies sides by, and nothing else."""
    name = {EscLTE: "esc_lte", Bicubic: "bicubic"}[network_class]
    changes = narrowed(name) if name == "esc_lte" else {}
    two, five = (srlab.create_model(name, scale=scale, **changes).eval() for scale in (2, 5))
    five.load_state_dict(two.state_dict())
    image = torch.rand(1, 3, 6, 7)
    assert two(image).shape == (1, 3, 12, 14)
    assert torch.equal(five(image), two.upsample(image, (30, 35)))
