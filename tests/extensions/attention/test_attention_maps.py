"""Maps as they are read, against attention computed pixel by pixel; measures against closed forms."""

import math

import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch.testing import assert_close

import srlab
from srlab.extensions.attention.maps import (
    WindowMaps,
    attended_distance,
    attended_pixels,
    attention_of_pixel,
    influence_on_pixel,
    read_attention_maps,
    similarity,
    similarity_between_blocks,
)
from srlab.models.elan import ELAN


def network(**changes) -> ELAN:
    torch.manual_seed(0)
    options = {"window_sizes": [2, 4], "dim": 8, "depth": 4, "n_share": 1, "shift_schedule": "alternate"}
    built = srlab.create_model("elan_demo", scale=2, **{**options, **changes})
    assert isinstance(built, ELAN)
    return built


def random_maps(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.softmax(3 * torch.randn(shape, generator=generator, dtype=torch.float64), dim=-1)


def test_each_block_gives_the_maps_of_each_window_size_with_its_shift():
    blocks = read_attention_maps(network(), torch.rand(1, 3, 7, 12))
    told = [[(group.side, group.shift, tuple(group.maps.shape)) for group in block] for block in blocks]
    small, large = (4, 6, 4, 4), (2, 3, 16, 16)  # 7 rows are padded to 8
    assert told == [[(2, 0, small), (4, 0, large)], [(2, 1, small), (4, 2, large)]]


@pytest.mark.parametrize("block", [0, 1], ids=["unshifted", "shifted"])
def test_attention_of_a_pixel_is_the_softmax_over_the_pixels_of_its_window(block: int):
    """Computed for single pixels from the queries, by which window their shifted coordinates fall into."""
    elan = network().eval().double()
    seen = []
    elan.body[block].attention[0].norm.register_forward_hook(lambda _module, _args, out: seen.append(out))
    image = torch.rand(1, 3, 8, 12, dtype=torch.float64)
    elan.use_backend("reference")
    blocks = read_attention_maps(elan, image)
    with torch.no_grad():
        elan(image)
    for group, side in enumerate((2, 4)):
        query = seen[-1][0, group * 8 : group * 8 + 4]  # of the [query, value] of 4 channels each
        shift = side // 2 if block else 0
        for row, column in ((0, 0), (3, 5), (7, 11), (4, 1)):
            window = [
                (y, x)
                for y in range(8)
                for x in range(12)
                if (y - shift) % 8 // side == (row - shift) % 8 // side
                and (x - shift) % 12 // side == (column - shift) % 12 // side
            ]
            logits = torch.stack([query[:, y, x] @ query[:, row, column] for y, x in window])
            expected = torch.zeros(8, 12, dtype=torch.float64)
            for (y, x), share in zip(window, torch.softmax(logits, 0).tolist(), strict=True):
                expected[y, x] = share
            assert_close(attention_of_pixel(blocks[block][group], row, column), expected)


def test_reading_leaves_the_network_as_it_was():
    elan = network().train()
    elan.use_backend("sdpa")
    before = {name: value.clone() for name, value in elan.state_dict().items()}
    read_attention_maps(elan, torch.rand(1, 3, 8, 8))
    assert elan.training
    assert elan.backend == "sdpa"
    assert not elan.body[0].attention[0]._forward_hooks
    for name, value in elan.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_what_is_no_elan_or_no_single_image_is_refused():
    with pytest.raises(ValueError, match="read from an ELAN, got Bicubic"):
        read_attention_maps(srlab.create_model("bicubic", scale=2), torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match="for one image, got 2"):
        read_attention_maps(network(), torch.rand(2, 3, 8, 8))
    windows = WindowMaps(side=2, shift=0, maps=random_maps(2, 3, 4, 4))
    with pytest.raises(ValueError, match=r"pixel \(4, 0\) lies outside the padded image of 4x6"):
        attention_of_pixel(windows, 4, 0)


def test_influence_is_how_much_the_restored_pixel_changes_with_each_input_pixel():
    """Oracle: differences of outputs."""
    elan = network(shift_schedule="none").double().eval()
    image = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    influence = influence_on_pixel(elan, image, 2, 5)
    assert influence.shape == (16, 16)
    for row, column in ((2, 5), (0, 7), (4, 4)):
        expected = 0.0
        for color in range(3):
            step = torch.zeros_like(image)
            step[0, color, row, column] = 1e-5
            with torch.no_grad():
                higher, lower = (elan(image + sign * step)[0, :, 4:6, 10:12].sum() for sign in (1, -1))
            expected += abs(float(higher - lower)) / 2e-5
        assert float(influence[row, column]) == pytest.approx(expected, rel=1e-4)
    frozen = elan.float().requires_grad_(False)
    torch.testing.assert_close(
        influence_on_pixel(frozen, image.float(), 2, 5), influence.float(), rtol=1e-3, atol=1e-5
    )
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_a_query_that_takes_evenly_from_n_pixels_counts_n():
    maps = torch.zeros(3, 8)
    for row, count in enumerate((1, 3, 8)):
        maps[row, :count] = 1 / count
    assert_close(attended_pixels(maps), torch.tensor([1.0, 3.0, 8.0]))


def test_distance_of_even_attention_is_the_mean_over_the_window():
    side = 3
    even = WindowMaps(side=side, shift=0, maps=torch.full((1, 1, 9, 9), 1 / 9, dtype=torch.float64))
    pixels = [(y, x) for y in range(side) for x in range(side)]
    expected = [sum(math.dist(query, key) for key in pixels) / 9 for query in pixels]
    assert attended_distance(even)[0, 0].tolist() == pytest.approx(expected)
    own = WindowMaps(side=side, shift=1, maps=torch.eye(9).expand(1, 1, 9, 9))
    assert torch.equal(attended_distance(own), torch.zeros(1, 1, 9))


def test_similarity_is_one_less_scipys_divergence():
    maps, others = random_maps(5, 6, 6), random_maps(6, 5, 6).transpose(0, 1)
    expected = [
        [1 - jensenshannon(one, other, base=2) ** 2 for one, other in zip(*pair, strict=True)]
        for pair in zip(maps, others, strict=True)
    ]
    assert similarity(maps, others).tolist() == [pytest.approx(row) for row in expected]
    apart = torch.eye(4, dtype=torch.float64)
    assert_close(similarity(apart, apart.flip(0)), torch.zeros(4, dtype=torch.float64))
    assert_close(similarity(maps, maps), torch.ones(5, 6, dtype=torch.float64))


def test_blocks_are_compared_window_by_window_and_chance_with_the_next_window():
    """Two windows: in the second block they are exchanged."""
    maps = random_maps(1, 2, 4, 4)
    blocks = [WindowMaps(side=2, shift=0, maps=each) for each in (maps, maps.flip(1))]
    alike, by_chance = similarity_between_blocks(blocks)
    apart = similarity(maps[0, 0], maps[0, 1]).mean()
    assert_close(alike, torch.eye(2, dtype=torch.float64) * (1 - apart) + apart)
    assert_close(by_chance, alike.flip(0))


def test_blocks_cut_at_unlike_places_and_single_windows_are_refused():
    maps = random_maps(1, 2, 4, 4)
    with pytest.raises(ValueError, match=r"\[\(2, 0\), \(2, 1\)\]; use shift_schedule=none"):
        similarity_between_blocks([WindowMaps(side=2, shift=shift, maps=maps) for shift in (0, 1)])
    with pytest.raises(ValueError, match="use a larger image"):
        similarity_between_blocks([WindowMaps(side=2, shift=0, maps=maps[:, :1])])
