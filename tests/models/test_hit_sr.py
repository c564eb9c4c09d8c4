"""HiT-SR against recorded outputs of the official code."""

import copy
import pickle
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import srlab
from golden_files import golden_files, load_golden
from official_networks import (
    assert_initialised_as,
    assert_recorded_outputs,
    assert_recorded_state,
    assumed,
    detect,
    deviation,
    initial_statistics,
    rebuild,
)
from rounding import assert_equal_up_to_rounding, outputs_and_gradients
from srlab.checkpoints import official_state
from srlab.models.hit_sr import HiTSR, MergedPositionBias
from srlab.models.swinir import SwinIR
from srlab.ops.padding import pad_to_multiple

SMALL = {
    "scale": 2, "dim": 16, "depths": [3, 1], "num_heads": [2, 4], "window_sizes": [2, 8, 16], "mlp_ratio": 2,
    "feed_forward": "linear", "window_context": False, "head": "pixelshuffledirect", "connection": "1conv",
    "value_range": 1.0, "shift_schedule": "none", "backend": "linear",
}  # fmt: skip
KINDS = {
    "HiT_SIR": {"feed_forward": "linear", "window_context": False},
    "HiT_SNG": {"feed_forward": "linear", "window_context": True},
    "HiT_SRF": {"feed_forward": "convolution", "window_context": False},
}


def small(kind="HiT_SIR", **overrides):
    torch.manual_seed(0)
    return HiTSR(**{**SMALL, **KINDS[kind], **overrides})


def lively(kind, **overrides):
    """A small network whose position biases are not nearly zero, in float64."""
    # the bias networks are dim // 16 wide: a norm over two values would give their signs alone
    network = small(kind, dim=48, **overrides).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "position_bias" in name:
                parameter.add_(torch.randn_like(parameter) / 2)
    return network


def official(name, **overrides):
    golden = load_golden(name)
    config = golden.about["config"]
    windows = [int(8 * ratio) for ratio in config["hier_win_ratios"][: max(config["depths"])]]
    assert detect(HiTSR, golden.weights())["window_sizes"] == windows
    return golden, rebuild(HiTSR, golden, **overrides)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("backend", HiTSR.plain_backends)
@pytest.mark.parametrize("name", golden_files("hit/*.npz", beyond_selection=True))
def test_whole_network_gives_the_official_output(name, backend, dtype):
    golden, network = official(name, backend=backend)
    assert_recorded_outputs(network, golden, dtype, levels=256)


@pytest.mark.parametrize("name", golden_files("hit/*.npz", beyond_selection=True))
def test_detected_arguments_sizes_and_official_state_are_the_recorded_ones(name):
    golden, network = official(name)
    config, weights = golden.about["config"], golden.weights()
    arguments = detect(HiTSR, weights)
    expected = {
        "scale": config["upscale"], "dim": config["embed_dim"], "depths": config["depths"],
        "num_heads": config["num_heads"], "mlp_ratio": config["mlp_ratio"], "head": config["upsampler"],
        "connection": config["resi_connection"], **KINDS[config["cls"]],
    }  # fmt: skip
    assert {name: arguments[name] for name in expected} == expected
    assert detect(SwinIR, weights) is None
    assert_recorded_state(network, golden)


def test_files_tell_window_sizes_where_the_shapes_do():
    large = official_state(small(window_sizes=[16, 24, 64]))
    assert detect(HiTSR, large)["window_sizes"] == [16, 24, 64]
    assert "window_sizes" not in assumed(HiTSR, large)
    mixed = official_state(small(window_sizes=[2, 5, 16]))
    assert detect(HiTSR, mixed)["window_sizes"] == [4, 8, 16]  # the published ones for 2 and 5
    assert "window_sizes" in assumed(HiTSR, mixed)
    context = official_state(small("HiT_SNG", window_sizes=[2, 5, 16]))
    assert detect(HiTSR, context)["window_sizes"] == [2, 5, 16]
    assert "window_sizes" not in assumed(HiTSR, context)


def test_the_files_of_swinir_and_hit_sr_are_told_apart():
    swinir = official_state(srlab.create_model("swinir_light", scale=2, depths=[2], num_heads=[2], dim=16))
    assert detect(HiTSR, swinir) is None
    assert detect(SwinIR, official_state(small())) is None
    broken = {key: value for key, value in official_state(small()).items() if not key.startswith("upsample")}
    with pytest.raises(KeyError, match=r"upsample\.0\.weight"):
        detect(HiTSR, broken)


@pytest.mark.parametrize(
    ("kind", "schedule"), [("HiT_SIR", "every"), ("HiT_SNG", [0, 1, 0, 1]), ("HiT_SRF", "none")]
)
def test_both_backends_are_one_function_with_one_gradient(kind, schedule):
    first = lively(kind, shift_schedule=schedule, backend="reference")
    second = copy.deepcopy(first)
    second.use_backend("linear")
    image = torch.rand(2, 3, 17, 11, dtype=torch.float64)
    assert_equal_up_to_rounding(outputs_and_gradients(second, image), outputs_and_gradients, first, image)


def test_the_linear_backend_stores_no_maps():
    """Maps of 256 tokens by 64 keys in 2 heads would be the largest tensors, 16 times a window's features."""

    def largest_stored(backend):
        sizes = []
        network = small(depths=[1], num_heads=[2], window_sizes=[16], backend=backend)
        image = torch.rand(4, 3, 16, 16)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            network(image)
        return max(sizes)

    assert largest_stored("reference") == 4 * 2 * 256 * 64
    assert largest_stored("linear") <= 2 * 256 * 64  # the bias, shared by all windows


@pytest.mark.parametrize("side", [3, 8, 16])
def test_position_bias_is_the_mean_over_the_members_of_each_key(side):
    layer = MergedPositionBias(dim=32, num_heads=2, side=side).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    factor = max(1, side // 8)
    grid = side // factor

    def network(down, right):
        distance = torch.tensor([down, right], dtype=torch.float64)
        return layer.stage3(layer.stage2(layer.stage1(layer.embed(distance))))

    bias = layer()
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        y, x, row, column = (
            int(torch.randint(high, (), generator=generator)) for high in (side, side, grid, grid)
        )
        members = product(
            range(row * factor, (row + 1) * factor), range(column * factor, (column + 1) * factor)
        )
        mean = torch.stack([network(y - key_y, x - key_x) for key_y, key_x in members]).mean(dim=0)
        assert_close(bias[:, y * side + x, row * grid + column], mean, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("multiple", [8, 48, 64])
@pytest.mark.parametrize("size", [(37, 29), (33, 40), (64, 33), (17, 45), (27, 22), (48, 25)], ids=str)
def test_repeated_reflection_is_what_the_official_code_does_in_two_steps(size, multiple):
    image = torch.rand(1, 2, *size)
    height, width = size
    bottom, right = -height % multiple, -width % multiple
    expected = image
    if bottom >= height or right >= width:
        expected = F.pad(image, (0, width - 1, 0, height - 1), mode="reflect")
        bottom, right = bottom - height + 1, right - width + 1
    if bottom >= expected.shape[-2] or right >= expected.shape[-1]:
        pytest.skip("the official code fails here")
    expected = F.pad(expected, (0, right, 0, bottom), mode="reflect")  # a negative pad crops
    assert_close(pad_to_multiple(image, multiple), expected, rtol=0, atol=0)


@pytest.mark.parametrize("backend", HiTSR.plain_backends)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (16, 80)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_every_size_is_enlarged_exactly(kind, size, backend):
    network = small(kind, scale=3, depths=[2], num_heads=[2], window_sizes=[4, 64], backend=backend).eval()
    with torch.no_grad():
        output = network(torch.rand(1, 3, *size))
    assert output.shape == (1, 3, 3 * size[0], 3 * size[1])
    assert output.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_reaches_every_parameter(kind):
    network = small(kind, connection="3conv", head="pixelshuffle")
    network(torch.rand(2, 3, 9, 21)).square().sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_does_not_depend_on_its_batch(kind):
    network, batch = lively(kind).eval(), torch.rand(3, 3, 18, 7, dtype=torch.float64)
    with torch.no_grad():
        alone = torch.cat([network(image[None]) for image in batch])
        assert_close(network(batch), alone, rtol=1e-9, atol=1e-9)


def test_windows_see_one_another_only_when_they_shift():
    """The first window of four; 3 convolutions after the block and 2 before it reach one pixel each."""

    def influence(schedule):
        network = lively("HiT_SIR", depths=[1], num_heads=[2], window_sizes=[8], shift_schedule=schedule)
        image = torch.rand(1, 3, 8, 32, dtype=torch.float64, requires_grad=True)
        network(image)[..., : 2 * 8].sum().backward()
        return image.grad.abs().sum(dim=(0, 1, 2)) > 0

    still, shifted = influence("none"), influence("every")
    # Features 0 to 10 of the block's output matter: they lie in windows 0 to 15, or 28 to 3 and 4 to 11.
    assert still[:16].all()
    assert not still[18:].any()
    assert shifted[:12].all()
    assert shifted[28:].all()
    assert not shifted[14:26].any()


@pytest.mark.parametrize("backend", HiTSR.plain_backends)
@pytest.mark.parametrize("kind", KINDS)
def test_runs_under_bfloat16_autocast(kind, backend):
    network, image = small(kind, backend=backend), torch.rand(2, 3, 8, 8)
    plain = network(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = network(image)
        mixed.square().mean().backward()
    assert deviation(mixed, plain) < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_that_has_run_can_be_copied_pickled_and_trained_after_inference_mode(kind):
    network, image = small(kind), torch.ones(1, 3, 12, 12) / 3
    with torch.inference_mode():
        before = network(image)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(network)))
    twin.train()(image).sum().backward()
    assert_close(twin(image), before.clone())
    assert network.state_dict().keys() == {key for key, _ in network.named_parameters()}


def test_a_trained_position_bias_is_not_the_remembered_one():
    network, image = small(), torch.rand(1, 3, 9, 9)
    with torch.no_grad():
        before = network(image)
        network.groups[0].blocks[0].correlation.position_bias.stage3[2].bias.add_(1.0)
        after = network(image)
        fresh = copy.deepcopy(network)(image)
    assert deviation(after, before) > 0
    assert_close(after, fresh, rtol=0, atol=0)


@pytest.mark.slow  # compiles
@pytest.mark.parametrize(("kind", "backend"), [("HiT_SNG", "auto"), ("HiT_SRF", "reference")])
def test_compiles_to_one_graph_that_computes_the_same(kind, backend):
    network = small(kind, depths=[1], num_heads=[2], window_sizes=[16], backend=backend).eval()
    image = torch.rand(1, 3, 9, 10)
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert_close(compiled(image), network(image))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"dim": 18}, r"dim=18 must be a multiple of twice num_heads=2"),
        ({"dim": 12}, r"dim must be an integer of at least 16, got 12"),
        ({"depths": [2]}, r"depths has 1 entries and num_heads has 2 entries; give one of each"),
        ({"depths": [], "num_heads": []}, r"depths must be a list of at least one integer, got \[\]"),
        ({"depths": [3, 0]}, r"depths\[\d\] must be an integer of at least 1, got 0"),
        ({"num_heads": [2, 0]}, r"num_heads\[\d\] must be an integer of at least 1, got 0"),
        ({"window_sizes": [4, 8]}, r"window_sizes=\[4, 8\] must list one side for each of 3 positions"),
        ({"window_sizes": 8}, r"window_sizes=8 must list one side for each of 3 positions"),
        ({"window_sizes": [4, 8, 12]}, r"window side 12 must be at most 8 or a multiple of it"),
        (
            {"window_sizes": [0, 8, 16]},
            r"window_sizes\[0\] must be an integer of at least 1, got 0",
        ),
        ({"feed_forward": "conv"}, r"unknown feed_forward 'conv'; choose linear or convolution"),
        ({"backend": "sdpa"}, r"HiTSR has no backend 'sdpa'; choose one of reference, linear, auto"),
        ({"shift_schedule": [0, 1]}, r"has 2 entries, but the network has 4 blocks"),
    ],
)
def test_impossible_arguments_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        small(**overrides)


def test_the_presets_never_shift_unless_told():
    shifts = [
        [block.correlation.shift for group in network.groups for block in group.blocks]
        for network in (
            srlab.create_model("hit_sir", scale=2),
            srlab.create_model("hit_sir", scale=2, shift_schedule="alternate"),
        )
    ]
    assert shifts == [[0] * 24, [0, 4, 0, 16, 0, 32] * 4]


@pytest.mark.parametrize("name", ["hit_srf", "hit_sng"])
def test_weights_are_initialised_as_officially(name):
    recorded = initial_statistics(name)
    torch.manual_seed(0)
    network = srlab.create_model(name, scale=4)
    state = official_state(network)
    few = {key for key in recorded if "correlation" in key and state[key].numel() < 50}
    assert_initialised_as(network, {key: value for key, value in recorded.items() if key not in few})
    # Tensors of a few numbers: those with the same role in all 24 blocks together.
    for role in {key.split("correlation")[1] for key in few}:
        keys = [key for key in recorded if key.endswith(f"correlation{role}")]
        counts = [state[key].numel() for key in keys]
        squares = [
            count * (recorded[key][0] ** 2 + recorded[key][1] ** 2)
            for key, count in zip(keys, counts, strict=True)
        ]
        ours = torch.cat([state[key].flatten() for key in keys]).square().sum().item()
        assert len(keys) == 24
        assert ours == sum(squares) == 0 or 0.5**2 < ours / sum(squares) < 2**2, role


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hit_sir", "hit_sng", "hit_srf"])
def test_float16_does_not_overflow_in_the_largest_windows(name):
    torch.manual_seed(0)
    network = srlab.create_model(name, scale=2, depths=[6], num_heads=[6]).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = network(image)
        with torch.autocast("cpu", dtype=torch.float16):
            assert deviation(network(image), expected) < 0.02
