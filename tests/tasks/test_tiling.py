"""The oracle of all cuts is the whole image; that of a single axis is a walk over its positions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import srlab
from native_kernels import NEEDS_KERNELS
from srlab.models.network import AttentionNetwork
from srlab.tasks.restoration import restore
from srlab.tasks.tiling import Cuts, cuts_of

# Small networks of all kinds, each with several blocks so that windows shift, and a scale.
CASES = {
    "elan": ("elan_light", 2, {"dim": 6, "depth": 4, "window_sizes": [2, 4, 8]}),
    "elan x3": ("elan_light", 3, {"dim": 6, "depth": 2, "n_share": 0, "window_sizes": [2, 4, 6]}),
    "elan x4": ("elan_light", 4, {"dim": 6, "depth": 4, "window_sizes": [4, 4, 4]}),
    "elan elsa": ("elan_light_elsa", 2, {"dim": 12, "depth": 2, "kernel_sides": [3, 3, 3]}),
    "swinir": ("swinir_light", 2, {"dim": 12, "depths": [2], "num_heads": [2], "window_size": 4}),
    "swinir elsa": ("swinir_light_elsa", 2, {"dim": 24, "depths": [1], "num_heads": [2], "kernel_side": 3}),
    "hit": ("hit_srf", 2, {"dim": 24, "depths": [2], "num_heads": [2], "window_sizes": [4, 8]}),
    "hit context": ("hit_sng", 2, {"dim": 24, "depths": [2], "num_heads": [2], "window_sizes": [2, 4]}),
    "hit shifted": (
        "hit_sir",
        3,
        {"dim": 24, "depths": [2], "num_heads": [2], "window_sizes": [4, 8], "shift_schedule": "alternate"},
    ),
    "edsr": ("edsr_baseline", 4, {"dim": 4, "depth": 2}),
    "msrresnet": ("msrresnet", 3, {"dim": 4, "depth": 2}),
    "bicubic": ("bicubic", 3, {}),
}


def network_of(case, dtype=torch.float64, backend="reference"):
    name, scale, changes = CASES[case]
    torch.manual_seed(0)
    network = srlab.create_model(name, scale=scale, **changes).to(dtype).eval()
    if isinstance(network, AttentionNetwork):
        network.use_backend(backend)
    return network


def steps_seen(network, image, **arguments):
    steps = []
    return restore(network, image, on_progress=steps.append, **arguments), steps


@pytest.mark.parametrize("case", CASES)
def test_exact_tiles_of_an_odd_image_are_the_whole_image(case):
    network = network_of(case)
    reach = network.reach()
    long = 2 * reach.full_halo + 4 * reach.alignment + 5
    for size in ((3, long), (long, 1)):
        image = torch.rand(1, 3, *size, dtype=torch.float64)
        tiled, steps = steps_seen(network, image, tile=2 * reach.alignment, exact=True)
        assert steps[-1].total > 1
        assert (tiled - restore(network, image)).abs().max() < 1e-12


@pytest.mark.parametrize("case", ["elan", "hit", "edsr"])
def test_exact_tiles_in_both_directions_are_the_whole_image(case):
    network = network_of(case)
    side = 2 * network.reach().full_halo + 3 * network.reach().alignment + 3
    image = torch.rand(1, 3, side, side + 2, dtype=torch.float64)
    tiled, steps = steps_seen(network, image, tile=2 * network.reach().alignment, exact=True)
    assert steps[-1].total >= 4
    assert (tiled - restore(network, image)).abs().max() < 1e-12


@pytest.mark.parametrize("size", [(1, 1), (1, 100), (100, 1), (5, 9)])
def test_images_of_one_pixel_or_one_row_are_restored_exactly(size):
    network = network_of("elan")
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    tiled = restore(network, image, tile=8, exact=True)
    assert (tiled - restore(network, image)).abs().max() < 1e-12


def test_an_image_smaller_than_a_tile_is_restored_as_a_whole():
    network = network_of("elan")
    tiled, steps = steps_seen(network, image := torch.rand(1, 3, 30, 41, dtype=torch.float64), tile=64)
    assert torch.equal(tiled, restore(network, image))
    assert [(step.done, step.total, step.tile) for step in steps] == [(0, 1, 0), (1, 1, 0)]


@pytest.mark.parametrize(
    ("backend", "tolerance"), [pytest.param("fused", 0, marks=NEEDS_KERNELS), ("sdpa", 1e-6)]
)
def test_exact_tiles_in_float32_are_bit_for_bit_or_nearly_so(backend, tolerance):
    network = srlab.create_model("elan_demo", scale=2, dim=30, depth=4)
    network.eval().use_backend(backend)
    image = torch.rand(1, 3, 40, 300)
    tiled, steps = steps_seen(network, image, tile=64, exact=True)
    assert steps[-1].total == 5
    assert (tiled - restore(network, image)).abs().max() <= tolerance


def test_a_cut_off_the_grid_is_what_exactness_depends_on():
    """The same halo with windows that lie elsewhere gives another image: why tiles are aligned."""
    network = network_of("elan")
    image = torch.rand(1, 3, 8, 200, dtype=torch.float64)
    whole = restore(network, image)
    halo = network.reach().full_halo
    aligned, shifted = (
        restore(network, image[..., start:])[..., 2 * halo : 2 * halo + 40] for start in (16, 19)
    )
    assert (aligned - whole[..., 2 * (16 + halo) : 2 * (16 + halo) + 40]).abs().max() < 1e-12
    assert (shifted - whole[..., 2 * (19 + halo) : 2 * (19 + halo) + 40]).abs().max() > 1e-6


def test_networks_that_pool_globally_refuse_exact_tiles_by_name():
    network = srlab.create_model("rcan", scale=2, dim=4, num_groups=1, depth=1, squeeze_factor=4)
    with pytest.raises(ValueError, match=r"RCAN cannot be exact in tiles.* for channel attention: .*tile=0"):
        restore(network, torch.rand(1, 3, 9, 9), tile=4, exact=True)
    assert restore(network, torch.rand(1, 3, 9, 9), tile=4).shape == (1, 3, 18, 18)


@settings(max_examples=200, deadline=None)
@given(
    grid=st.integers(1, 6),
    halo=st.integers(0, 4),
    tile=st.integers(1, 30),
    length=st.integers(1, 90),
    wraps=st.booleans(),
    padded=st.booleans(),
)
def test_positions_are_kept_once_with_a_halo_around(grid, halo, tile, length, wraps, padded):
    cuts = Cuts(alignment=grid, halo=halo * grid, wraps=wraps, size_multiple=grid if padded else 1)
    whole = -(-length // grid) * grid if padded else length
    spans = cuts.plan((1, length), tile).columns
    assert [position for each in spans for position in range(each.start, each.stop)] == list(range(length))
    for span in spans:
        assert all(start % grid == 0 for start, _ in span.pieces)
        axis = [position for start, stop in span.pieces for position in range(start, stop)]
        assert len(axis) == span.length
        assert len(set(axis)) == len(axis)
        for position in range(span.start, span.stop):
            at = span.offset + position - span.start
            assert axis[at] == position
            for distance in range(1, cuts.halo + 1):
                for sign in (-1, 1):
                    wanted, place = position + sign * distance, at + sign * distance
                    if wraps:
                        assert axis[place % len(axis)] == wanted % whole
                    elif 0 <= wanted < whole:
                        assert axis[place] == wanted
                    else:
                        assert not 0 <= place < len(axis)


def test_tiles_are_planned_for_what_the_network_says():
    cuts = cuts_of(srlab.create_model("elan_light", scale=4), exact=False)
    tiling = cuts.plan((500, 700), 100)  # 100 becomes 112
    assert [(each.start, each.stop) for each in tiling.rows] == [
        (0, 112), (112, 224), (224, 336), (336, 448), (448, 500),
    ]  # fmt: skip
    assert tiling.rows[0].pieces == ((0, 208), (416, 512))  # 96 of the far border, which is padded to 512
    assert tiling.rows[2].pieces == ((128, 432),)
    assert (tiling.count, tiling.largest) == (35, (112 + 2 * 96) ** 2)
