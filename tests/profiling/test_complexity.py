"""Parameters and multiply-adds against counts made on the official code (torch.utils.flop_counter, meta)."""

import copy

import pytest
import torch

import srlab
from golden_files import golden_files, load_golden
from srlab.profiling.complexity import count_parameters, multiply_adds

# Preset, changes, then for x2, x3, x4: parameters, trainable ones, 1e9 multiply-adds at 1280x720.
RECORDED = [
    ("elan_light", {},
     (620916, 582012, 200.32), (629031, 590127, 89.03), (640392, 601488, 53.46)),
    ("elan", {},
     (8429076, 8254092, 2311.78), (8453391, 8278407, 1020.21), (8487432, 8312448, 606.66)),
    ("elan_light", {"n_share": 0},
     (666276, 627372, 229.49), (674391, 635487, 101.87), (685752, 646848, 61.07)),
    ("elan_light", {"n_share": 3},
     (598236, 559332, 185.74), (606351, 567447, 82.61), (617712, 578808, 49.65)),
    ("elan_light", {"window_sizes": [8, 8, 8]},
     (620916, 582012, 172.08), (629031, 590127, 78.28), (640392, 601488, 45.13)),
    ("elan_light", {"window_sizes": [4, 8, 12]},
     (620916, 582012, 179.60), (629031, 590127, 80.67), (640392, 601488, 50.93)),
    ("elan_light", {"window_sizes": [16, 16, 16]},
     (620916, 582012, 273.58), (629031, 590127, 121.28), (640392, 601488, 72.57)),
    ("swinir_light", {},
     (910152, 910152, 240.91), (918267, 918267, 109.25), (929628, 929628, 62.71)),
    ("swinir", {},
     (11752487, 11752487, 2871.88), (11937127, 11937127, 1312.35), (11900199, 11900199, 769.87)),
    ("edsr_baseline", {},
     (1369859, 1369859, 316.25), (1554499, 1554499, 160.44), (1517571, 1517571, 114.23)),
    ("bicubic", {},
     (0, 0, 0.00), (0, 0, 0.00), (0, 0, 0.00)),
]  # fmt: skip
CASES = [
    pytest.param(name, changes, scale, row, id=f"{name}-{changes}-x{scale}")
    for name, changes, *rows in RECORDED
    for scale, row in zip((2, 3, 4), rows, strict=True)
]

# Our preset for each recorded key list.
KEY_LISTS = {
    "elan_light": ("elan_light", {}),
    "elan": ("elan", {}),
    "elan_light_share0": ("elan_light", {"n_share": 0}),
    "elan_light_share3": ("elan_light", {"n_share": 3}),
    "elan_light_w888": ("elan_light", {"window_sizes": [8, 8, 8]}),
    "elan_light_w4_8_12": ("elan_light", {"window_sizes": [4, 8, 12]}),
    "elan_light_w161616": ("elan_light", {"window_sizes": [16, 16, 16]}),
    "swinir_light": ("swinir_light", {}),
    "swinir_classical_m": ("swinir", {}),
    "edsr_baseline": ("edsr_baseline", {}),
    "edsr_large": ("edsr_baseline", {"dim": 256, "depth": 32, "residual_scale": 0.1}),
}


def on_meta(name, scale, changes):
    with torch.device("meta"):
        return srlab.create_model(name, scale=scale, **changes)


@pytest.mark.parametrize(("name", "changes", "scale", "row"), CASES)
def test_sizes_and_multiply_adds_are_the_recorded_ones(name, changes, scale, row):
    network = on_meta(name, scale, changes)
    parameters, trainable, giga = row
    report = count_parameters(network)
    assert (report.all, report.trainable) == (parameters, trainable)
    assert report.held == sum(parameter.numel() for parameter in network.parameters())
    assert round(multiply_adds(network) / 1e9, 2) == giga


@pytest.mark.parametrize("file", [name for name in golden_files("keys/*_x?.json") if name[5:-8] in KEY_LISTS])
def test_official_state_has_the_recorded_keys_shapes_and_dtypes(file):
    name, changes = KEY_LISTS[file[5:-8]]
    state = on_meta(name, int(file[-6]), changes).to_official()
    ours = {key: [list(value.shape), str(value.dtype).removeprefix("torch.")] for key, value in state.items()}
    assert ours == load_golden(file).about


def test_counting_leaves_the_network_as_it_was():
    network = srlab.create_model("elan_demo", scale=2, backend="sdpa").train()
    before = copy.deepcopy(network.state_dict())
    first, second = multiply_adds(network, (64, 64)), multiply_adds(network, (64, 64))
    assert first == second
    assert network.training
    assert network.backend == "sdpa"
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_frozen_parameters_are_not_counted_as_trainable():
    network = srlab.create_model("edsr_baseline", scale=2)
    network.conv_last.requires_grad_(False)
    report = count_parameters(network)
    assert report.all - report.trainable == 64 * 3 * 9 + 3
