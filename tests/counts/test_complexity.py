"""Parameters and multiply-adds against counts made on the official code (torch.utils.flop_counter, meta)."""

import copy
import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import srlab
from golden_files import golden_files, load_golden
from preset_cases import cheapest_of_each_class, recorded_scales
from srlab.checkpoints import official_state
from srlab.counts.complexity import (
    activations,
    count_parameters,
    executed_multiply_adds,
    extra_multiply_adds,
    multiply_adds,
    official_calls,
)
from srlab.counts.operations import uncounted_operations
from srlab.models.network import Network

RECORDED = Path(__file__).parents[1] / "recorded"
FILES = {path.stem: json.loads(path.read_text()) for path in sorted(RECORDED.glob("*.json"))}
CHEAPEST = set(cheapest_of_each_class({name: 4 for name, file in FILES.items() if "x4" in file}).values())
# hundreds of blocks take seconds even on meta
QUICK = {name for name in CHEAPEST if FILES[name]["x4"]["parameters"] < 10_000_000}
PRESETS = [
    pytest.param(name, scale, marks=[] if scale == 4 and name in QUICK else [pytest.mark.slow])
    for name in srlab.list_models()
    for scale in (2, 3, 4)
    if f"x{scale}" in FILES.get(name, {})
]

# Preset, changes, key list, then for x2, x3, x4: parameters, trainable ones, 1e9 multiply-adds at 1280x720.
VARIANTS = [
    ("elan_light", {"n_share": 0}, "elan_light_share0",
     (666276, 627372, 229.49), (674391, 635487, 101.87), (685752, 646848, 61.07)),
    ("elan_light", {"n_share": 3}, "elan_light_share3",
     (598236, 559332, 185.74), (606351, 567447, 82.61), (617712, 578808, 49.65)),
    ("elan_light", {"window_sizes": [8, 8, 8]}, "elan_light_w888",
     (620916, 582012, 172.08), (629031, 590127, 78.28), (640392, 601488, 45.13)),
    ("elan_light", {"window_sizes": [4, 8, 12]}, "elan_light_w4_8_12",
     (620916, 582012, 179.60), (629031, 590127, 80.67), (640392, 601488, 50.93)),
    ("elan_light", {"window_sizes": [16, 16, 16]}, "elan_light_w161616",
     (620916, 582012, 273.58), (629031, 590127, 121.28), (640392, 601488, 72.57)),
]  # fmt: skip
VARIANT_ROWS = [
    pytest.param(
        name, changes, scale, row, id=f"{keys}-x{scale}", marks=[] if scale == 4 else [pytest.mark.slow]
    )
    for name, changes, keys, *rows in VARIANTS
    for scale, row in zip((2, 3, 4), rows, strict=True)
]


def on_meta(name, scale, changes=None):
    with torch.device("meta"):
        return srlab.create_model(name, scale=scale, **(changes or {}))


def assert_costs(network, parameters, trainable, giga):
    report = count_parameters(network)
    assert (report.all, report.trainable) == (parameters, trainable)
    assert report.held == sum(parameter.numel() for parameter in network.parameters())
    if giga is not None:
        assert round(multiply_adds(network) / 1e9, 2) == giga


@pytest.mark.parametrize("name", srlab.list_models())
def test_every_preset_has_a_recorded_size_at_each_published_scale(name):
    assert name in FILES, (
        f"preset {name} has no tests/recorded/{name}.json with its parameters and multiply-adds"
    )
    scales = set(recorded_scales(name))
    network = on_meta(name, max(scales))
    assert scales == set(type(network).published_scales)
    row = FILES[name][f"x{max(scales)}"]
    assert_costs(network, row["parameters"], row["trainable"], None)


def test_every_recorded_size_is_of_a_preset():
    assert set(FILES) <= set(srlab.list_models())


@pytest.mark.parametrize(("name", "scale"), PRESETS)
def test_presets_have_the_recorded_size_and_multiply_adds(name, scale):
    row = FILES[name][f"x{scale}"]
    assert_costs(on_meta(name, scale), row["parameters"], row["trainable"], row.get("giga_multiply_adds"))


@pytest.mark.parametrize(("name", "changes", "scale", "row"), VARIANT_ROWS)
def test_variants_have_the_recorded_size_and_multiply_adds(name, changes, scale, row):
    assert_costs(on_meta(name, scale, changes), *row)


def key_lists() -> dict[str, list[tuple[str, int, dict]]]:
    """For each recorded key list the networks (preset, scale, changes) that claim to have these keys."""
    claims: dict[str, list[tuple[str, int, dict]]] = {}
    told = [(name, {}, file["keys"], file) for name, file in FILES.items() if "keys" in file]
    told += [(name, changes, keys, ("x2", "x3", "x4")) for name, changes, keys, *_ in VARIANTS]
    for name, changes, keys, scales in told:
        for scale in (scale for scale in (2, 3, 4) if f"x{scale}" in scales):
            claims.setdefault(f"keys/{keys}_x{scale}.json", []).append((name, scale, changes))
        claims.setdefault(f"keys/{keys}.json", []).append((name, 4, changes))  # one list for all scales
    return claims


# The lists of x2 and x3 differ from those of x4 in the head alone.
KEY_LISTS = [
    pytest.param(name, marks=[pytest.mark.slow] if name.endswith(("_x2.json", "_x3.json")) else [])
    for name in golden_files("keys/*.json")
    if name != "keys/init_stats.json"
]


@pytest.mark.parametrize("file", KEY_LISTS)
def test_official_state_has_the_recorded_keys_shapes_and_dtypes(file):
    """Every list is one network's: none is left over, none is claimed twice."""
    claims = key_lists().get(file, [])
    assert len(claims) == 1, f"{file} is claimed by {claims or 'no tests/recorded file'}"
    name, scale, changes = claims[0]
    state = official_state(on_meta(name, scale, changes))
    ours = {key: (list(value.shape), str(value.dtype)) for key, value in state.items()}
    recorded = load_golden(file).about.items()
    assert ours == {key: (shape, f"torch.{dtype.removeprefix('torch.')}") for key, (shape, dtype) in recorded}


def elan_multiply_adds(*, dim, depth, n_share, windows, expansion, scale, pixels, sdpa):
    """By hand, for a padded map of ``pixels``: what ELAN executes without the two mean shifts."""
    computing, area = depth // (1 + n_share), sum(side**2 for side in windows)
    local = 2 * expansion * dim**2 + (0 if sdpa else 9 * dim * (1 + expansion))
    mixing = computing * 3 * dim**2 + (depth - computing) * 2 * dim**2
    maps = depth if sdpa else computing  # sdpa compares queries in every module
    attention = (maps + depth) * area * dim // len(windows)
    return pixels * (27 * dim + depth * local + mixing + attention + 27 * scale**2 * dim)


@pytest.mark.parametrize("backend", ["reference", "sdpa"])
@pytest.mark.parametrize("n_share", [0, 3])
def test_executed_multiply_adds_follow_the_back_end(n_share, backend):
    network = on_meta("elan_light", 4, {"n_share": n_share, "backend": backend})
    expected = elan_multiply_adds(
        dim=60, depth=24, n_share=n_share, windows=(4, 8, 16), expansion=2, scale=4, pixels=192 * 320,
        sdpa=backend == "sdpa",
    )  # fmt: skip
    assert executed_multiply_adds(network) == expected
    mean_shifts = 9 * 192 * 320 * (1 + 4**2)
    if backend == "reference":
        assert multiply_adds(network) == expected + mean_shifts


@pytest.mark.parametrize("backend", ["sdpa", "flex"])
def test_fused_attention_counts_as_both_of_its_products(backend):
    """SwinIR computes the same products with every back end; on a CPU counters see none of sdpa's."""
    network = srlab.create_model("swinir_light", scale=4, backend=backend)
    assert executed_multiply_adds(network, (64, 64)) == multiply_adds(network, (64, 64))


@pytest.mark.parametrize(("device", "backend"), [("cpu", "sdpa"), ("cuda", "sdpa")])
def test_automatic_back_end_is_resolved_for_the_device_asked_for(device, backend):
    network = srlab.create_model("elan_demo", scale=2, backend="auto")
    counted = executed_multiply_adds(network, (64, 64), device=device)
    network.use_backend(backend)
    assert counted == executed_multiply_adds(network, (64, 64))


@pytest.mark.parametrize("name", ["elan_demo", "swinir_light", "edsr_baseline"])
def test_multiply_adds_are_half_of_what_pytorch_counts_on_real_tensors(name):
    """Oracle: torch's own counter on the explicit formulation, run on the CPU."""
    network = srlab.create_model(name, scale=4).eval()
    if name != "edsr_baseline":
        network.use_backend("reference")
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(torch.zeros(1, 3, 17, 30))
    apart = extra_multiply_adds(network, (17, 30))
    assert multiply_adds(network, (68, 120)) == counter.get_total_flops() // 2 + apart


def test_activations_are_the_elements_that_convolutions_and_products_give():
    """By hand: EDSR's convolutions; ELAN's convolutions, mean shifts, maps and attention."""
    pixels = 16 * 16
    edsr = srlab.create_model("edsr_baseline", scale=2)
    by_hand = pixels * (64 + 16 * 2 * 64 + 64 + 4 * 64) + 4 * pixels * 3
    assert activations(edsr, (32, 32)) == activations(edsr, (32, 32), convolutions_only=True) == by_hand
    elan = srlab.create_model("elan_demo", scale=2, backend="sdpa")
    dim, depth, computing, area = 30, 8, 4, 4**2 + 8**2 + 16**2
    local = dim + 2 * dim + 2 * dim + dim  # shift, mix, shift, mix
    convolutions = dim + depth * (local + dim) + computing * 2 * dim + (depth - computing) * dim + 12
    by_hand = pixels * (convolutions + 3 * (1 + 2**2))
    assert activations(elan, (32, 32), convolutions_only=True) == by_hand
    assert activations(elan, (32, 32)) == by_hand + pixels * (computing * area + depth * dim)


def test_uncounted_operations_are_listed():
    """By hand: SwinIR-light has two norms in each of 24 blocks and two outside, a soft-max in each block."""
    pixels = 24 * 32
    listed = uncounted_operations(official_calls(srlab.create_model("swinir_light", scale=2), (40, 64)))
    assert listed["aten.native_layer_norm"] == 50 * pixels * 60
    assert listed["aten._softmax"] == 24 * pixels * 64 * 6
    assert listed["aten.gelu"] == 24 * pixels * 120
    assert listed["aten.roll"] == 24 * pixels * 60
    assert listed["aten.pixel_shuffle"] == 4 * pixels * 3
    assert list(listed.values()) == sorted(listed.values(), reverse=True)


class Doubling(Network):
    """A network of one operator that PyTorch does not know."""

    def restore(self, lr_image):
        return torch.ops.srlab_test.double(lr_image)


def test_an_operator_of_unknown_arithmetic_is_not_passed_over():
    with torch.library._scoped_library("srlab_test", "DEF") as library:
        library.define("double(Tensor image) -> Tensor")
        library.impl("double", lambda image: image * 2, "CompositeExplicitAutograd")
        with pytest.raises(ValueError, match=r"operator srlab_test\.double cannot be counted: .* reference"):
            multiply_adds(Doubling(scale=1), (8, 8))


def test_counting_leaves_the_network_as_it_was():
    network = srlab.create_model("elan_demo", scale=2, backend="sdpa").train()
    before = copy.deepcopy(network.state_dict())
    first, second = multiply_adds(network, (64, 64)), multiply_adds(network, (64, 64))
    assert first == second
    assert network.training
    assert network.backend == "sdpa"
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_counting_does_not_depend_on_device_or_dtype():
    expected = multiply_adds(srlab.create_model("elan_demo", scale=2), (64, 64))
    assert multiply_adds(srlab.create_model("elan_demo", scale=2).bfloat16(), (64, 64)) == expected
    assert multiply_adds(on_meta("elan_demo", 2), (64, 64)) == expected


def test_counting_takes_no_memory_for_weights_or_maps(monkeypatch):
    """An image of a billion pixels, and weights that cannot be copied."""
    network = srlab.create_model("elan_demo", scale=4)
    monkeypatch.delattr(torch.nn.Parameter, "__deepcopy__")
    monkeypatch.setattr(torch.Tensor, "__deepcopy__", None)
    pixels, per_pixel = (32768 // 4) ** 2, multiply_adds(network, (64, 64)) // 16**2
    assert multiply_adds(network, (32768, 32768)) == pixels * per_pixel


def test_frozen_parameters_are_not_counted_as_trainable():
    network = srlab.create_model("edsr_baseline", scale=2)
    network.conv_last.requires_grad_(False)
    report = count_parameters(network)
    assert report.all - report.trainable == 64 * 3 * 9 + 3


def test_counting_for_another_device_chooses_nothing_there(caplog):
    network = srlab.create_model("elan_demo", scale=2)
    with caplog.at_level("INFO"):
        executed_multiply_adds(network, (64, 64), device="cuda")
    assert "backend auto" not in caplog.text
