"""Enlargement by any factor, against recorded outputs of the official code."""

import json
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

import srlab
from golden_files import golden_files, load_golden
from official_networks import assumed, counted, detect, deviation, rebuild
from srlab.checkpoints import official_state
from srlab.counts.complexity import multiply_adds
from srlab.models.esc import esc_lte
from srlab.models.esc.esc_lte import EscLTE
from srlab.models.registry import network_classes
from srlab.ops.axis import Axis

RECORDED = golden_files("esc/esc_lte_arb.npz", beyond_selection=True)
RECORDED_SIZES = Path(__file__).parents[2] / "recorded"


def small(**overrides):
    torch.manual_seed(0)
    arguments = {
        "scale": 2, "dim": 8, "mixed_dim": 4, "kernel_side": 3, "depth": 1, "steps_per_block": 1,
        "window_size": 4, "num_heads": 2, "ffn_ratio": 2, "step_ffn_ratio": 1.25, "query_dim": 8,
    }  # fmt: skip
    return EscLTE(**{**arguments, **overrides})


@pytest.mark.parametrize("backend", ["reference", "sdpa"])
@pytest.mark.parametrize("at", ["s2", "s3.3", "s6"])
@pytest.mark.parametrize("name", RECORDED)
def test_any_scale_gives_the_official_output(name, at, backend):
    golden = load_golden(name)
    network = rebuild(EscLTE, golden, backend=backend).double()
    expected = golden.arrays[f"{at}/y"]  # stored in float32
    with torch.no_grad():
        result = network.upsample(golden.arrays["x"].double() / 256, tuple(expected.shape[1:]))
    assert deviation(result[0], expected) <= 1e-9 + expected.abs().max() * torch.finfo(torch.float32).eps


@pytest.mark.parametrize("name", RECORDED)
def test_features_are_the_official_ones(name):
    golden = load_golden(name)
    network = rebuild(EscLTE, golden).double()
    with torch.no_grad():
        features = network.encoder(golden.arrays["x"].double() / 128 - 1, "reference")
    assert deviation(features, golden.arrays["feat"]) <= 1e-9


@pytest.mark.parametrize("name", RECORDED)
def test_the_recorded_weights_are_this_network_and_tell_all_but_the_scale(name):
    golden = load_golden(name)
    weights, spec, encoder = golden.weights(), golden.about["config"]["spec"], golden.about["config"]["enc"]
    assert [cls for cls in network_classes() if detect(cls, weights) is not None] == [EscLTE]
    assert detect(EscLTE, weights) == {
        "scale": 4, "dim": encoder["dim"], "mixed_dim": encoder["pdim"],
        "kernel_side": encoder["kernel_size"], "depth": encoder["n_blocks"],
        "steps_per_block": encoder["conv_blocks"], "window_size": encoder["window_size"],
        "num_heads": encoder["num_heads"], "ffn_ratio": 2, "step_ffn_ratio": encoder["exp_ratio"],
        "query_dim": spec["hidden_dim"], "normed_steps": False, "backend": "auto",
    }  # fmt: skip
    assert assumed(EscLTE, weights) == ("scale",)
    state = official_state(rebuild(EscLTE, golden))
    assert state.keys() == weights.keys()
    for key, value in weights.items():
        assert_close(state[key], value, rtol=0, atol=0)


@pytest.mark.parametrize("name", golden_files("keys/esc_lte.json", beyond_selection=True))
def test_preset_has_the_official_keys_shapes_and_dtypes(name):
    with torch.device("meta"):
        network = srlab.create_model("esc_lte", scale=2)
    state = {key: [list(value.shape), str(value.dtype)] for key, value in official_state(network).items()}
    assert state == load_golden(name).about
    assert counted(network) == (1_433_631, 1_433_631)


@pytest.mark.parametrize("scale", [1, 2, 5])
def test_forward_enlarges_by_the_scale(scale):
    network, image = small(scale=scale), torch.rand(2, 3, 3, 5)
    assert_close(network(image), network.upsample(image, (3 * scale, 5 * scale)), rtol=0, atol=0)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4), (4, 11), (25, 8), (37, 53)], ids=str)
def test_every_size_is_reached_and_finite(size):
    for sides in [(1, 1), (5, 4)]:
        result = small().upsample(torch.rand(2, 3, *sides), size)
        assert result.shape == (2, 3, *size)
        assert result.isfinite().all()


@pytest.mark.parametrize("at_a_time", [1, 40, 70])
def test_parts_make_the_whole(at_a_time, monkeypatch):
    network, image = small().double(), torch.rand(2, 3, 4, 5).double()
    whole = network.upsample(image, (9, 17))
    monkeypatch.setattr(esc_lte, "_QUERIES_AT_A_TIME", at_a_time)
    with torch.no_grad():
        assert_close(network.upsample(image, (9, 17)), whole)


def test_mirrored_position_tells_mirrored_neighbours():
    """Oracle: the distances by the definition of pixel centres, in exact fractions."""
    ahead, behind = esc_lte._neighbours(torch.arange(9), Axis.whole(4, 9), 4, torch.float64).distance
    assert_close(ahead, -behind.flip(0))
    centres = (torch.arange(9, dtype=torch.float64) + 0.5) * 4 / 9 - 0.5
    assert_close(ahead, 2 * (centres - centres.floor().clamp(0, 3)))


def test_a_flat_image_stays_bounded_in_half_precision():
    network, image = small(), torch.rand(1, 3, 6, 6)
    with torch.no_grad():
        plain = network.upsample(image, (30, 30))
        half = network.bfloat16().upsample(image.bfloat16(), (30, 30))
    assert half.dtype == torch.bfloat16
    assert deviation(half, plain) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("scale", [3, 4])
def test_multiply_adds_are_those_of_esc_without_its_head_and_of_the_estimator(scale):
    """Oracle: the official count of ESC, and the estimator's in closed form."""
    height, width = -(-720 // scale), -(-1280 // scale)
    pixels = height * width
    recorded = json.loads((RECORDED_SIZES / "esc.json").read_text())[f"x{scale}"]["giga_multiply_adds"]
    head = pixels * 9 * 64 * 3 * scale**2
    query = 3 * 256**2 + 256 * 3
    estimator = pixels * 2 * 9 * 64 * 256 + 2 * 128 + 4 * pixels * scale**2 * query
    with torch.device("meta"):
        network = srlab.create_model("esc_lte", scale=scale)
    assert multiply_adds(network) == pytest.approx(recorded * 1e9 - head + estimator, abs=5e6)


@pytest.mark.parametrize("size", [(0, 4), (4, 2.5), (4,), (True, 3)], ids=str)
def test_impossible_sizes_are_refused(size):
    with pytest.raises(ValueError, match=r"size"):
        small().upsample(torch.rand(1, 3, 4, 4), size)


def test_what_is_no_image_is_refused():
    with pytest.raises(
        ValueError, match=r"expected RGB images \(B, 3, H, W\), none of them empty, got \(3, 4, 4\)"
    ):
        small().upsample(torch.rand(3, 4, 4), (8, 8))
    with pytest.raises(ValueError, match=r"expected values in \[0, 1\], got torch.uint8"):
        small().upsample(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), (8, 8))
