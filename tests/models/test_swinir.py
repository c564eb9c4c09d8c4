"""SwinIR against recorded outputs of the official code."""

import copy
import pickle

import pytest
import torch
from torch.testing import assert_close

import srlab
from golden_files import golden_files, load_golden
from official_networks import (
    assert_gradients_match,
    assert_initialised_as,
    assert_recorded_outputs,
    assert_recorded_state,
    assumed,
    detect,
    deviation,
    layout_of,
    rebuild,
)
from rounding import assert_equal_up_to_rounding, outputs_and_gradients
from srlab.checkpoints import official_state
from srlab.models.swinir import SwinBlock, SwinIR

BACKENDS = ("reference", "sdpa")

SMALL = {
    "scale": 2, "dim": 12, "depths": [2, 2], "num_heads": [2, 3], "window_size": 4, "mlp_ratio": 2,
    "head": "pixelshuffledirect", "connection": "1conv", "value_range": 1.0, "drop_path": 0.0,
    "shift_schedule": "alternate", "backend": "reference",
}  # fmt: skip


def small(**overrides):
    torch.manual_seed(0)
    return SwinIR(**{**SMALL, **overrides})


def official(name, **overrides):
    golden = load_golden(name)
    return golden, rebuild(SwinIR, golden, value_range=golden.about["config"]["img_range"], **overrides)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", golden_files("swinir/swinir_*.npz"))
def test_whole_network_gives_the_official_output(name, backend, dtype):
    golden, network = official(name, backend=backend)
    assert_recorded_outputs(network, golden, dtype, levels=256)


@pytest.mark.parametrize("name", golden_files("swinir/swinir_*.npz"))
def test_detected_arguments_sizes_and_official_state_are_the_recorded_ones(name):
    golden, network = official(name)
    config, weights = golden.about["config"], golden.weights()
    arguments = detect(SwinIR, weights)
    expected = {
        "scale": config["upscale"], "dim": config["embed_dim"], "depths": config["depths"],
        "num_heads": config["num_heads"], "window_size": config["window_size"],
        "mlp_ratio": config["mlp_ratio"],
        "head": config["upsampler"], "connection": config["resi_connection"], "shift_schedule": "alternate",
    }  # fmt: skip
    assert {name: arguments[name] for name in expected} == expected
    assert_recorded_state(network, golden, img_size=config["img_size"])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", golden_files("swinir/train_step*.npz"))
def test_a_training_step_gives_the_official_loss_and_gradients(name, backend):
    golden, network = official(name, backend=backend, drop_path=0.0)
    network.double().train()
    sr_image = network(golden.arrays["x"].double() / 256)
    loss = (sr_image - golden.arrays["t"].double() / 256).abs().mean()
    loss.backward()
    assert deviation(sr_image, golden.arrays["y_f64"]) <= 1e-9
    assert loss.item() == pytest.approx(golden.about["loss_value"], rel=1e-9)
    assert_gradients_match(network, golden)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shift", [0, 4])
def test_block_is_the_official_one(shift, backend):
    golden = load_golden("swinir/blocks.npz")
    block = SwinBlock(dim=12, num_heads=2, window_size=8, hidden_dim=24, drop_path=0.1, shifted=shift > 0)
    prefix = "layers.0.residual_group.blocks.0."
    weights = {prefix + key: value for key, value in golden.weights(f"block_shift{shift}/w/").items()}
    block.load_state_dict(
        {
            key.removeprefix("groups.0.blocks.0."): value
            for key, value in layout_of(SwinIR).to_ours(weights).items()
        }
    )
    y = block.double().eval()(golden.arrays["x"].double().view(2, 16, 24, 12), backend)
    assert deviation(y.flatten(1, 2), golden.arrays[f"block_shift{shift}/y"]) <= 1e-12


@pytest.mark.parametrize("schedule", ["alternate", "every", "late", [0, 1, 1, 0]], ids=str)
@pytest.mark.parametrize("size", [(4, 4), (3, 13), (17, 8)], ids=str)
@pytest.mark.parametrize("window_size", [4, 5])
def test_both_backends_are_one_function_with_one_gradient(window_size, size, schedule):
    first = small(shift_schedule=schedule, window_size=window_size).double()
    for group in first.groups:
        for block in group.blocks:
            torch.nn.init.normal_(block.attention.position_bias.table)
    second = copy.deepcopy(first)
    second.use_backend("sdpa")
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    assert_equal_up_to_rounding(outputs_and_gradients(second, image), outputs_and_gradients, first, image)


@pytest.mark.parametrize(
    ("head", "scale"), [("pixelshuffledirect", 3), ("pixelshuffle", 4), ("nearest+conv", 2)]
)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (8, 5)])
def test_every_size_is_enlarged_exactly(size, head, scale):
    network = small(head=head, scale=scale, window_size=8, backend="sdpa").eval()
    assert network(torch.rand(1, 3, *size)).shape == (1, 3, scale * size[0], scale * size[1])


def test_gradient_reaches_every_parameter():
    network = small(connection="3conv", head="pixelshuffle")
    network(torch.rand(2, 3, 8, 8)).square().sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters()
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_runs_under_bfloat16_autocast(backend):
    network, image = small(backend=backend), torch.rand(2, 3, 8, 8)
    plain = network(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = network(image)
        mixed.square().mean().backward()
    assert deviation(mixed, plain) < 0.05


def test_a_network_that_has_run_can_be_copied_pickled_and_trained_after_inference_mode():
    network = small()
    with torch.inference_mode():
        before = network(torch.ones(1, 3, 12, 12) / 3)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(network)))
    twin.train()(torch.ones(1, 3, 12, 12) / 3).sum().backward()
    assert_close(twin(torch.ones(1, 3, 12, 12) / 3), before.clone())
    assert network.state_dict().keys() == {key for key, _ in network.named_parameters()}


@pytest.mark.slow  # compiles C++
@pytest.mark.parametrize("schedule", ["alternate", "none"])
def test_flex_is_the_same_function(schedule):
    torch.compiler.reset()  # each process may compile for a few shapes only
    network, image = small(shift_schedule=schedule, window_size=8).eval(), torch.rand(2, 3, 21, 30)
    with torch.no_grad():
        network.use_backend("reference")
        expected = network(image)
        network.use_backend("flex")
        assert_close(network(image), expected)


def test_drop_path_grows_linearly_from_zero_over_all_blocks():
    blocks = [block for group in small(drop_path=0.3).groups for block in group.blocks]
    assert [block.drop_path.probability for block in blocks] == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_stored_masks_tell_the_schedule_and_its_absence_is_admitted():
    network = small(shift_schedule=[1, 0, 1, 1])
    state = official_state(network, img_size=8)
    assert detect(SwinIR, state)["shift_schedule"] == [True, False, True, True]
    assert "shift_schedule" not in assumed(SwinIR, state)
    bare = {
        key: value
        for key, value in state.items()
        if not key.endswith(("attn_mask", "relative_position_index"))
    }
    assert detect(SwinIR, bare)["shift_schedule"] == "alternate"
    assert "shift_schedule" in assumed(SwinIR, bare)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"dim": 13}, r"dim=13 must be a multiple of num_heads=2"),
        ({"depths": [2]}, r"depths has 1 entries and num_heads has 2 entries"),
        ({"depths": []}, r"depths must be a list of at least one integer, got \[\]"),
        ({"depths": [2, 0]}, r"depths\[1\] must be an integer of at least 1, got 0"),
        ({"window_size": 0}, r"window_size must be an integer of at least 1, got 0"),
        ({"head": "transpose"}, r"unknown head 'transpose'; choose one of pixelshuffledirect"),
        ({"head": "nearest+conv", "scale": 3}, r"upsamples by 2 or 4, got scale=3"),
        ({"head": "pixelshuffle", "scale": 6}, r"scale 3 and powers of two, got scale=6"),
        ({"connection": "2conv"}, r"unknown connection '2conv'; choose 1conv or 3conv"),
        ({"drop_path": 1.0}, r"must be in \[0, 1\), got 1.0"),
        ({"shift_schedule": [0, 1]}, r"has 2 entries, but the network has 4 blocks"),
    ],
)
def test_impossible_arguments_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        small(**overrides)


def test_official_buffers_need_a_size_of_several_windows():
    with pytest.raises(
        ValueError, match=r"img_size=4 must be a multiple of the window size 4, and more than one"
    ):
        official_state(small(), img_size=4)


def test_weights_are_initialised_as_officially():
    torch.manual_seed(0)
    network = srlab.create_model("swinir_light", scale=4)
    recorded = load_golden("keys/init_stats.json").about["swinir_light"]
    assert_initialised_as(network, recorded)
