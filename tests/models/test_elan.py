"""ELAN against recorded outputs of the official code."""

import copy
from contextlib import contextmanager

import pytest
import torch
from torch.testing import assert_close

import srlab
from golden_files import golden_files, load_golden
from native_kernels import NEEDS_KERNELS
from official_networks import (
    assert_gradients_match,
    assert_initialised_as,
    counted,
    detect,
    deviation,
    layout_of,
    rebuild,
    recorded_pairs,
)
from rounding import assert_equal_up_to_rounding, outputs_and_gradients, outputs_of
from srlab.checkpoints import official_state
from srlab.checkpoints.layouts.keys import rename_all
from srlab.models.elan import ELAN, ElanBlock, GroupAttention
from srlab.models.shared_attention import LocalFeatures, ShiftConvolution

BACKENDS = ("reference", "sdpa")

SMALL = {
    "scale": 2, "dim": 12, "depth": 4, "n_share": 1, "window_sizes": [2, 4, 8], "expansion": 2,
    "shift_schedule": "alternate", "backend": "reference",
}  # fmt: skip


def small(**overrides):
    torch.manual_seed(0)
    return ELAN(**{**SMALL, **overrides})


PARTS = (
    ("conv0.shift_conv.conv1x1.", "expand.mix."),
    ("conv1.shift_conv.conv1x1.", "contract.mix."),
    ("conv1x1.", "mix."),
    ("project_inp.0.", "project."),
    ("project_inp.1.", "norm."),
    ("project_out.", "mix."),
)


def block_state(weights):
    """Our keys for the weights of an official block, or of a part of one."""
    ours = layout_of(ELAN).to_ours({f"body.0.{key}": value for key, value in weights.items()})
    return rename_all({key.removeprefix("body.0."): value for key, value in ours.items()}, PARTS)


def loaded(module, golden, tag):
    module.load_state_dict(block_state(golden.weights(f"{tag}/w/")))
    return module.double().eval()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", golden_files("elan/elan_*.npz"))
def test_whole_network_gives_the_official_output(name, backend, dtype):
    golden = load_golden(name)
    network = rebuild(ELAN, golden, window_sizes=golden.about["config"]["windows"], backend=backend).to(dtype)
    for lr_image, expected, tolerance in recorded_pairs(golden, dtype):
        with torch.no_grad():
            assert deviation(network(lr_image / 255) * 255, expected) <= tolerance


@NEEDS_KERNELS
@pytest.mark.parametrize("name", golden_files("elan/elan_*.npz"))
def test_cpu_kernels_give_the_official_output(name):
    golden = load_golden(name)
    network = rebuild(ELAN, golden, window_sizes=golden.about["config"]["windows"], backend="fused").float()
    for lr_image, expected, tolerance in recorded_pairs(golden, torch.float32):
        with torch.no_grad():
            assert deviation(network(lr_image / 255) * 255, expected) <= tolerance


@NEEDS_KERNELS
@pytest.mark.parametrize(
    ("window_sizes", "n_share", "schedule"),
    [
        ([2, 4, 8], 0, "every"), ([2, 4, 8], 1, "alternate"), ([2, 4, 8], 3, "late"), ([3], 0, "none"),
        ([3], 3, "every"), ([5, 2], 1, "late"), ([5, 2], 0, "alternate"), ([4, 4, 8, 2], 3, "alternate"),
        ([4, 4, 8, 2], 1, "none"), ([16, 16, 16], 0, "late"), ([16, 16, 16], 1, "every"),
    ],
    ids=str,
)  # fmt: skip
def test_cpu_kernels_are_the_reference_for_any_windows_sharing_and_schedule(window_sizes, n_share, schedule):
    network = small(
        dim=20 if len(window_sizes) != 3 else 12, window_sizes=window_sizes, n_share=n_share,
        shift_schedule=schedule, expansion=1 + n_share,
    )  # fmt: skip
    with settled_statistics(network):
        image = torch.rand(2, 3, 11, 21)
        exact = copy.deepcopy(network).double()
        network.use_backend("fused")
        assert_equal_up_to_rounding(outputs_of(network, image), outputs_of, exact, image.double())


@contextmanager
def settled_statistics(network):
    """Evaluation with statistics as training leaves them: without, unscaled logits saturate."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.constant_(module.weight, 0.3)
    network.eval()
    with torch.inference_mode():
        yield


def test_cpu_kernels_refuse_other_dtypes():
    network, image = small(backend="fused").double(), torch.rand(1, 3, 8, 8).double()
    with pytest.raises(ValueError, match=r"train in float32, got torch.float64"):
        network(image)
    with torch.no_grad(), pytest.raises(ValueError, match=r"contiguous float32 .* got torch.float64"):
        network.eval()(image)


@pytest.mark.parametrize("name", golden_files("elan/elan_*.npz"))
def test_detected_arguments_sizes_and_official_state_are_the_recorded_ones(name):
    golden = load_golden(name)
    config, arguments = golden.about["config"], detect(ELAN, golden.weights())
    per_block = 1 + config["n_share"]
    expected = {
        "scale": config["scale"], "dim": config["c"], "depth": config["m"] // per_block * per_block,
        "n_share": config["n_share"], "expansion": config["r"],
    }  # fmt: skip
    assert {name: arguments[name] for name in expected} == expected
    network = rebuild(ELAN, golden)
    assert counted(network) == (golden.about["params_all"], golden.about["params_trainable"])
    official, weights = official_state(network), golden.weights()
    assert official.keys() == weights.keys()
    for key, value in weights.items():
        assert_close(official[key], value, rtol=0, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", golden_files("elan/train_step*.npz"))
def test_a_training_step_gives_the_official_loss_gradients_and_statistics(name, backend):
    golden = load_golden(name)
    network = (
        rebuild(ELAN, golden, window_sizes=golden.about["config"]["windows"], backend=backend)
        .double()
        .train()
    )
    sr_image = network(golden.arrays["x"].double() / 255)
    loss = 255 * (sr_image - golden.arrays["t"].double() / 255).abs().mean()
    loss.backward()
    assert deviation(255 * sr_image, golden.arrays["y_f64"]) <= 1e-9 * golden.arrays["y_f64"].std().item()
    assert loss.item() == pytest.approx(golden.about["loss_value"], rel=1e-9)
    assert_gradients_match(network, golden)
    state = network.state_dict()
    for key, expected in layout_of(ELAN).to_ours(golden.weights("after/")).items():
        assert_close(state[key], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_shift_convolution_and_local_features_are_the_official_ones(backend):
    golden = load_golden("elan/blocks_shiftconv_lfe.npz")
    x = golden.arrays["x"].double()
    cases = {
        "shiftconv_dw": ShiftConvolution(dim_in=18, dim_out=12),
        "lfe": LocalFeatures(dim=18, expansion=2),
        "lfe_r4": LocalFeatures(dim=18, expansion=4),
    }
    for tag, module in cases.items():
        state = block_state(golden.weights(f"{tag}/w/"))
        state.pop("weight", None)
        module.load_state_dict(state)
        assert deviation(module.double()(x, backend), golden.arrays[f"{tag}/y"]) <= 1e-12


@pytest.mark.parametrize("name", golden_files("elan/blocks_gmsa_shift?.npz"))
def test_group_attention_is_the_official_one_with_own_and_with_shared_maps(name):
    golden, shifted = load_golden(name), "shift1" in name
    x, tag = golden.arrays["x"].double(), f"shift{int(shifted)}"
    computing = loaded(
        GroupAttention(dim=18, window_sizes=[2, 4, 8], shifted=shifted, computes_maps=True),
        golden,
        f"gmsa_calc_{tag}",
    )
    sharing = loaded(
        GroupAttention(dim=18, window_sizes=[2, 4, 8], shifted=shifted, computes_maps=False),
        golden,
        f"gmsa_share_{tag}",
    )
    for backend in BACKENDS:
        y, handed_on = computing(x, None, backend=backend)
        assert deviation(y, golden.arrays[f"gmsa_calc_{tag}/y"]) <= 1e-12
        y, _ = sharing(x, handed_on, backend=backend)
        assert deviation(y, golden.arrays[f"gmsa_share_{tag}/y"]) <= 1e-12
    _, maps = computing(x, None, backend="reference")
    for index, recorded in enumerate(maps):
        assert deviation(recorded.flatten(0, 1), golden.arrays[f"gmsa_calc_{tag}/atn{index}"]) <= 1e-12


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", golden_files("elan/blocks_elab_shift?.npz"))
def test_block_is_the_official_one_in_evaluation(name, backend):
    golden, shift = load_golden(name), name[-5]
    for n_share in (0, 1, 3):
        tag = f"elab_shift{shift}_share{n_share}"
        block = ElanBlock(dim=18, n_share=n_share, window_sizes=[2, 4, 8], expansion=2, shifted=shift == "1")
        y = loaded(block, golden, tag)(golden.arrays["x"].double(), backend)
        assert deviation(y, golden.arrays[f"{tag}/y_eval"]) <= 1e-11


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", golden_files("elan/blocks_elabtrain_shift?.npz"))
def test_block_is_the_official_one_in_training_and_keeps_the_same_statistics(name, backend):
    golden, shift = load_golden(name), name[-5]
    tag, x = f"elab_train_shift{shift}_share1", golden.arrays["x"].double()
    block = ElanBlock(dim=18, n_share=1, window_sizes=[2, 4, 8], expansion=2, shifted=shift == "1")
    block = loaded(block, golden, tag).train()
    assert deviation(block(x, backend), golden.arrays[f"{tag}/y_train"]) <= 1e-11
    state = block.state_dict()
    for key, expected in block_state(golden.weights(f"{tag}/after/")).items():
        assert_close(state[key], expected, rtol=1e-12, atol=1e-12)
    assert deviation(block.eval()(x, backend), golden.arrays[f"{tag}/y_eval_after"]) <= 1e-11


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("schedule", ["alternate", "every"])
@pytest.mark.parametrize("window_sizes", [[2, 4, 8], [3], [5, 2], [4, 4, 8, 2]], ids=str)
def test_both_backends_are_one_function_with_one_gradient(window_sizes, schedule, training):
    first = small(
        dim=20 if len(window_sizes) != 3 else 12, window_sizes=window_sizes, shift_schedule=schedule
    ).double()
    first.train(training)
    second = copy.deepcopy(first)
    second.use_backend("sdpa")
    image = torch.rand(2, 3, 11, 13, dtype=torch.float64)
    assert_equal_up_to_rounding(outputs_and_gradients(second, image), outputs_and_gradients, first, image)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (7, 3), (9, 9), (17, 16)])
def test_every_size_is_enlarged_exactly(size, backend):
    network = small(window_sizes=[4, 8, 16], backend=backend).eval()
    assert network(torch.rand(1, 3, *size)).shape == (1, 3, 2 * size[0], 2 * size[1])


def test_gradient_reaches_every_parameter():
    network = small(backend="sdpa")
    network(torch.rand(2, 3, 16, 16)).square().sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters()
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_runs_under_bfloat16_autocast(backend):
    network, image = small(backend=backend), torch.rand(2, 3, 16, 16)
    plain = copy.deepcopy(network)(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = network(image)
        mixed.square().mean().backward()
    assert deviation(mixed, plain) < 0.2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"dim": 20}, r"dim=20 channels cannot be divided equally among 3 windows"),
        ({"depth": 5}, r"depth=5 modules do not divide .* use depth=4 or 6"),
        ({"n_share": -1}, r"n_share must be an integer of at least 0, got -1"),
        ({"window_sizes": [4, 0, 8]}, r"window_sizes\[1\] must be an integer of at least 1, got 0"),
        ({"window_sizes": [4, 8.0, 16]}, r"at least 1, got 8.0"),
        ({"window_sizes": []}, r"at least one integer, got \[\]"),
        ({"window_sizes": 8}, r"must be a list .* got 8"),
        ({"shift_schedule": [0, 1, 1]}, r"has 3 entries, but the network has 2 blocks"),
        ({"shift_schedule": "odd"}, r"unknown shift_schedule 'odd'; choose one of alternate"),
        ({"scale": 0}, r"scale must be an integer of at least 1, got 0"),
        ({"scale": 2.0}, r"scale must be .* got 2.0"),
        ({"expansion": 0}, r"expansion must be an integer of at least 1, got 0"),
        ({"backend": "flash"}, r"ELAN has no backend 'flash'; choose one of reference, sdpa, fused, auto"),
    ],
)
def test_impossible_arguments_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        small(**overrides)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.rand(3, 8, 8), r"\(B, 3, H, W\).* got \(3, 8, 8\)"),
        (torch.rand(1, 1, 8, 8), r"got \(1, 1, 8, 8\)"),
        (torch.rand(1, 3, 0, 8), r"none of them empty"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"got torch.uint8; convert with image.float\(\) / 255"),
    ],
)
def test_what_is_no_image_is_refused(image, message):
    with pytest.raises(ValueError, match=message):
        small()(image)


def test_weights_are_initialised_as_officially():
    torch.manual_seed(0)
    network = srlab.create_model("elan_light", scale=4)
    assert_initialised_as(network, load_golden("keys/init_stats.json").about["elan_light"])


def test_a_changed_shift_kernel_is_not_passed_over():
    state = official_state(small())
    state["body.0.modules_lfe.lfe_0.conv0.shift_conv.weight"][0] += 0.5
    with pytest.raises(
        ValueError, match=r"conv0.shift_conv.weight differs from the constant of the published ELAN"
    ):
        layout_of(ELAN).to_ours(state)


@pytest.mark.parametrize("schedule", ["none", [1, 0]], ids=str)
def test_the_shift_schedule_reaches_the_blocks(schedule):
    network = small(shift_schedule=schedule)
    assert [block.shifted for block in network.body] == [bool(schedule != "none"), False]
