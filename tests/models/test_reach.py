"""Reach against NaN: what an input column of NaN makes NaN is what it can reach, whatever the weights."""

import math
import re
from pathlib import Path

import pytest
import torch

import srlab
from preset_cases import cheapest_of_each_class, narrowed, recorded, recorded_scales
from srlab.layers.spatial_steps import Global
from srlab.models.network import AttentionNetwork, Network
from srlab.ops.reach import reaching_interval

SCALES = {name: recorded_scales(name)[0] for name in srlab.list_models()}
QUICK = set(cheapest_of_each_class(SCALES).values())


def thin(name, **changes):
    """A preset at full depth with few channels, which its reach does not depend on."""
    groups = {"swinir": 6}.get(name, 4)
    channels = {
        "elan_light_elsa": {"dim": 12},
        "elan": {"dim": 6},
        "swinir_light_elsa": {"dim": 24, "num_heads": [2] * groups},
        "swinir": {"dim": 12, "num_heads": [2] * groups},
        "hit": {"dim": 16, "num_heads": [2] * groups},
        "esc_lte": {"dim": 8, "mixed_dim": 4, "num_heads": 2, "query_dim": 4},
        "esc": {"dim": 8, "mixed_dim": 4, "num_heads": 1},
        "rcan": {"dim": 4, "squeeze_factor": 4},
        "edsr": {"dim": 4},
        "msrresnet": {"dim": 4},
        "bicubic": {},
    }
    found = recorded(name).get("thin")
    if found is None:
        found = next(value for prefix, value in channels.items() if name.startswith(prefix))
    return prepared(srlab.create_model(name, scale=SCALES[name], **{**found, **changes}))


def prepared(network):
    if isinstance(network, AttentionNetwork):
        # the maps of large windows would take minutes
        without_maps = (each for each in ("sdpa", "linear") if each in network.plain_backends)
        network.use_backend(next(without_maps, "reference"))
    return network.eval()


def pixelwise(compute):
    """``compute`` without NaN, and NaN where an argument of the same pixels has it.

    What pools globally reaches everywhere by definition; ``reach.pixels`` says how far all else does.
    """

    def computed(*arguments):
        tensors = [each for each in arguments if torch.is_tensor(each)]
        found = compute(*(each.nan_to_num() if torch.is_tensor(each) else each for each in arguments))
        channels, pixels = (1, slice(2, None)) if found.ndim == 4 else (2, slice(1, 2))
        for each in tensors:
            if each.ndim == found.ndim in (3, 4) and each.shape[pixels] == found.shape[pixels]:
                found = found.where(~each.isnan().any(channels, keepdim=True), math.nan)
        return found

    return computed


def without_pooling(network):
    for module in network.modules():
        for method in module.global_parts if isinstance(module, Global) else ():
            setattr(module, method, pixelwise(getattr(module, method)))
    return network


@pytest.fixture(autouse=True)
def _same_weights():
    torch.manual_seed(0)


@torch.inference_mode()
def reached(network, width, column):
    """(scale * width,) whether an output column is NaN where input ``column`` is."""
    image = torch.rand(1, 3, 2, width)
    image[..., column] = math.nan
    return network(image).isnan().any(dim=(0, 1, 2))


def predicted(network, width, column):
    first, last = reaching_interval(
        network.spatial_steps(), torch.arange(width * network.scale), torch.tensor(width)
    )
    return (first <= column) & (column <= last)


def check_far_from_borders(network):
    """At the columns that reach farthest, and at one of no special place in the grid."""
    reach, scale = network.reach(), network.scale
    margin = -(-reach.pixels // reach.alignment) * reach.alignment
    first, last = reaching_interval(network.spatial_steps(), torch.arange(reach.alignment * scale))
    own = torch.arange(reach.alignment * scale) // scale
    columns = {int(first[(own - first).argmax()]), int(last[(last - own).argmax()]), reach.alignment // 3}
    width = 2 * margin + reach.alignment
    for column in columns:
        place = margin + column % reach.alignment  # the grid repeats itself
        assert torch.equal(reached(network, width, place), predicted(network, width, place)), column


def cases():
    quick = ("elan_light", "swinir_light", "edsr_baseline", "msrresnet", "bicubic")
    return [pytest.param(name, marks=[] if name in quick else [pytest.mark.slow]) for name in SCALES]


@pytest.mark.parametrize("name", cases())
def test_the_reach_of_a_preset_is_exactly_what_nan_reaches(name):
    check_far_from_borders(without_pooling(thin(name)))


@pytest.mark.parametrize("name", sorted(QUICK))
def test_the_reach_of_a_shallow_network_is_exactly_what_nan_reaches(name):
    network = prepared(srlab.create_model(name, scale=SCALES[name], **narrowed(name)))
    if network.pools_globally:
        column = network.reach().alignment // 3
        width = column + network.reach().pixels + 64
        beyond = ~predicted(network, width, column)
        assert reached(network, width, column)[beyond].any(), "nothing pools globally"
    check_far_from_borders(without_pooling(network))


@pytest.mark.parametrize("name", ["hit_srf", "hit_sng", "esc_light"])
@pytest.mark.parametrize("beyond", [1, 3, 7, 9])
def test_reflection_at_the_border_is_part_of_the_reach(name, beyond):
    network = without_pooling(prepared(srlab.create_model(name, scale=SCALES[name], **narrowed(name))))
    grid = network.reach().alignment
    width = -(-network.reach().pixels // grid) * grid + grid + beyond
    for column in (width - 1, width - beyond - 2, width - grid):
        assert torch.equal(reached(network, width, column), predicted(network, width, column)), column


@pytest.mark.parametrize(
    ("changes", "pixels", "grid"),
    [
        ({}, 299, 16),
        ({"n_share": 0}, 203, 16),
        ({"n_share": 3}, 347, 16),
        ({"window_sizes": [8, 8, 8]}, 151, 8),
        ({"window_sizes": [4, 8, 12]}, 225, 24),
        ({"shift_schedule": "none"}, 387, 16),
    ],
)
def test_elan_light_reaches_as_far_as_its_configuration_says(changes, pixels, grid):
    reach = srlab.create_model("elan_light", scale=4, **changes).reach()
    assert (reach.pixels, reach.alignment) == (pixels, grid)
    assert reach.wraps == (changes.get("shift_schedule") != "none")
    assert reach.halo == (96 if not changes else -(-pixels // grid) * grid)


def test_the_measured_halo_of_hit_srf_is_for_what_was_measured_alone():
    others = [
        ("hit_srf", {"shift_schedule": "alternate"}),
        ("hit_srf", {"window_sizes": [64, 48, 32, 16, 8, 4]}),
        ("hit_sir", {}),
    ]
    with torch.device("meta"):
        measured = srlab.create_model("hit_srf", scale=4)
        found = [srlab.create_model(name, scale=4, **changes).measured_halo() for name, changes in others]
    assert found == [None] * len(others)
    reach = measured.reach()
    assert (reach.halo, reach.full_halo) == (192, 576)


def test_a_cyclic_shift_without_mask_reaches_the_opposite_border():
    network = thin("elan_demo", depth=4, n_share=1)
    nan = reached(network, 320, 0)
    assert nan[0]
    assert nan[-1]
    assert not nan[len(nan) // 2]
    assert network.reach().wraps


def test_networks_whose_shift_is_masked_do_not_wrap():
    assert not srlab.create_model("swinir_light", scale=2).reach().wraps
    assert srlab.create_model("hit_srf", scale=2, shift_schedule="alternate").reach().wraps


@pytest.mark.parametrize("name", sorted(SCALES))
def test_every_preset_declares_its_reach(name):
    reach = srlab.create_model(name, scale=SCALES[name], **narrowed(name)).reach()
    assert reach.pixels > 0
    assert reach.halo % reach.alignment == 0


def documented(cell, names):
    """A cell of the table in docs/tiling.md: one value for all networks of its row, or one for each."""
    values = cell.split(", ")
    return values * len(names) if len(values) == 1 else values


@pytest.mark.slow  # builds all presets
def test_the_documented_table_is_that_of_the_presets():
    text = (Path(__file__).parents[2] / "docs/tiling.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z].*?) \| ([\d, ]+) \| ([\d, ]+) \| (.+?) \| (.*?) ?\|$", text, re.MULTILINE)
    found = {}
    for cell, grid, pixels, halo, remark in rows:
        names = re.findall(r"`(\w+)`", cell)
        halo = pixels if halo == "the same" else halo
        values = zip(*(documented(each, names) for each in (grid, pixels, halo)), strict=True)
        for name, row in zip(names, values, strict=True):
            found[name] = (*map(int, row), remark)
    assert {"elan_light", "swinir_light", "esc", "hit_srf", "nlsn"} <= set(found)  # a new one needs no row
    expected = {}
    for name in found:
        with torch.device("meta"):
            network = srlab.create_model(name, scale=SCALES[name])
        reach = network.reach()
        remark = "wraps" if reach.wraps else "global" if reach.pools_globally else ""
        expected[name] = (reach.alignment, reach.pixels, reach.halo, remark)
    assert found == expected


def test_a_network_that_does_not_declare_its_reach_says_so():
    class Undeclared(Network):
        def restore(self, lr_image):
            return lr_image

    with pytest.raises(ValueError, match="Undeclared does not declare its receptive field"):
        Undeclared(scale=1).reach()
