"""ESC's networks against recorded outputs of the official code."""

import copy

import pytest
import torch
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
    layout_of,
    rebuild,
)
from rounding import assert_equal_up_to_rounding, outputs_and_gradients
from srlab.checkpoints import official_state
from srlab.checkpoints.layouts.layout import resize_subpixels
from srlab.models.esc.esc import ESC
from srlab.models.esc.esc_fp import EscFP
from srlab.models.esc.esc_lte import EscLTE
from srlab.models.esc.esc_real import EscReal
from srlab.models.registry import network_classes

CLASSES = {"ESC": ESC, "ESCFP": EscFP, "ESCReal": EscReal}
NETWORKS = [ESC, EscFP, EscReal, EscLTE]
WHOLE = [name for name in golden_files("esc/esc*.npz", beyond_selection=True) if "lte" not in name]
BACKENDS = ("reference", "sdpa")

SMALL = {
    "dim": 8, "mixed_dim": 4, "kernel_side": 5, "depth": 2, "steps_per_block": 2, "window_size": 4,
    "num_heads": 2, "ffn_ratio": 2, "step_ffn_ratio": 1.25,
}  # fmt: skip
OWN = {ESC: {"normed_steps": True, "scale": 3}, EscReal: {"scale": 4}, EscLTE: {"query_dim": 8, "scale": 2}}


def small(network_class, **overrides):
    torch.manual_seed(0)
    network = network_class(**{**SMALL, "scale": 3, **OWN.get(network_class, {}), **overrides})
    for name, parameter in network.named_parameters():
        if ".predict." in name or name.endswith("position_bias.table"):  # where nothing would depend on them
            torch.nn.init.normal_(parameter, std=0.3)
    return network


def official(name, **overrides):
    golden = load_golden(name)
    network_class = CLASSES[golden.about["config"]["cls"]]
    batch = {key: golden.arrays.pop(key) for key in ("xb", "yb_trainmode") if key in golden.arrays}
    return golden, rebuild(network_class, golden, **overrides), batch


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", WHOLE)
def test_whole_network_gives_the_official_output(name, backend, dtype):
    golden, network, _ = official(name, backend=backend)
    assert_recorded_outputs(network, golden, dtype, levels=256)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [name for name in WHOLE if name.endswith("_x2.npz")])
def test_evaluation_of_a_batch_is_what_the_official_training_computes(name, backend):
    _, network, batch = official(name, backend=backend)
    with torch.no_grad():
        result = network.double()(batch["xb"].double() / 256)
    expected = batch["yb_trainmode"]  # stored in float32
    assert deviation(result, expected) <= 1e-9 + expected.abs().max() * torch.finfo(torch.float32).eps


@pytest.mark.parametrize("name", WHOLE)
def test_detected_arguments_sizes_and_official_state_are_the_recorded_ones(name):
    golden, network, _ = official(name)
    config, weights = golden.about["config"], golden.weights()
    first_ratios = {"ESC": 2, "ESCFP": 1.5, "ESCReal": 2}
    expected = {
        "scale": config["upscaling_factor"], "dim": config["dim"], "mixed_dim": config["pdim"],
        "kernel_side": config["kernel_size"], "depth": config["n_blocks"],
        "steps_per_block": config["conv_blocks"], "window_size": config["window_size"],
        "num_heads": config["num_heads"], "ffn_ratio": first_ratios[config["cls"]],
        "step_ffn_ratio": config["exp_ratio"], "backend": "auto",
        "normed_steps": config.get("use_ln", config["cls"] != "ESC"),
    }  # fmt: skip
    recognising = {cls: detect(cls, weights) for cls in network_classes()}
    assert {cls: found for cls, found in recognising.items() if found} == {type(network): expected}
    assert assumed(type(network), weights) == ()
    assert_recorded_state(network, golden)


@pytest.mark.parametrize("preset", ["esc", "esc_light", "esc_xl", "esc_fp", "esc_real", "esc_lte"])
def test_a_preset_is_what_its_official_file_tells(preset):
    with torch.device("meta"):
        network = srlab.create_model(preset, scale=4)
        arguments = detect(type(network), official_state(network))
        again = type(network)(**arguments)
    assert {key: value.shape for key, value in again.state_dict().items()} == {
        key: value.shape for key, value in network.state_dict().items()
    }


@pytest.mark.parametrize("name", golden_files("keys/esc*_x*.json", beyond_selection=True))
def test_preset_has_the_official_keys_shapes_and_dtypes(name):
    preset, scale = name.removeprefix("keys/").removesuffix(".json").rsplit("_x", 1)
    with torch.device("meta"):
        state = official_state(srlab.create_model(preset, scale=int(scale)))
    recorded = load_golden(name).about
    assert {key: [list(v.shape), str(v.dtype).removeprefix("torch.")] for key, v in state.items()} == recorded


@pytest.mark.parametrize("ratio", [1.25, 1.1, 1.7, 2, 1.999, 0.7])
@pytest.mark.parametrize("dim", [8, 10, 58, 64])
def test_hidden_widths_are_detected_although_they_were_cut_off(dim, ratio):
    with torch.device("meta"):
        network = small(EscFP, dim=dim, ffn_ratio=ratio, step_ffn_ratio=ratio / 1.1)
        again = EscFP(**detect(EscFP, official_state(network)))
    assert [value.shape for value in again.parameters()] == [value.shape for value in network.parameters()]


@pytest.mark.parametrize("network_class", NETWORKS)
@pytest.mark.parametrize("size", [(4, 4), (3, 9), (11, 6)], ids=str)
def test_both_backends_are_one_function_with_one_gradient(network_class, size):
    first = small(network_class, backend="reference").double()
    second = copy.deepcopy(first)
    second.use_backend("sdpa")
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    assert_equal_up_to_rounding(outputs_and_gradients(second, image), outputs_and_gradients, first, image)


@pytest.mark.parametrize("network_class", NETWORKS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (8, 5)], ids=str)
def test_every_size_is_enlarged_exactly_and_a_batch_is_its_images(network_class, size):
    network, images = small(network_class).double().eval(), torch.rand(3, 3, *size).double()
    with torch.no_grad():
        results = network(images)
        apart = [network(image[None]) for image in images]
    assert results.shape == (3, 3, network.scale * size[0], network.scale * size[1])
    assert_close(results, torch.cat(apart))


@pytest.mark.parametrize("network_class", NETWORKS)
def test_training_and_evaluation_are_one_function(network_class):
    network, images = small(network_class).double(), torch.rand(2, 3, 7, 5).double()
    assert_close(network.train()(images), network.eval()(images), rtol=0, atol=0)


@pytest.mark.parametrize("overrides", [{"depth": 1}, {"steps_per_block": 1}], ids=str)
@pytest.mark.parametrize("preset", ["esc", "esc_light", "esc_xl", "esc_fp", "esc_real", "esc_lte"])
def test_gradient_reaches_every_parameter_of_a_preset_at_an_odd_size(preset, overrides):
    thinned = {"dim": 12, "mixed_dim": 4, "num_heads": 2, "window_size": 8, "depth": 2, "steps_per_block": 2}
    if preset == "esc_lte":
        thinned["query_dim"] = 12
    network = srlab.create_model(preset, scale=4, **{**thinned, **overrides})
    network(torch.rand(2, 3, 9, 7)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("network_class", NETWORKS)
def test_runs_under_bfloat16_autocast(network_class, backend):
    network, image = small(network_class, backend=backend), torch.rand(2, 3, 8, 8)
    plain = network(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = network(image)
        mixed.square().mean().backward()
    assert deviation(mixed, plain) < 0.05


@pytest.mark.slow  # compiles
@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("network_class", NETWORKS)
def test_compiles_to_one_graph_that_computes_the_same(network_class, backend):
    network = small(network_class, backend=backend, depth=1, steps_per_block=1).eval()
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    image = torch.rand(1, 3, 9, 10)
    with torch.no_grad():
        assert_close(compiled(image), network(image))
    torch.compiler.reset()


@pytest.mark.slow  # compiles C++
def test_flex_is_the_same_function():
    network, image = small(ESC, window_size=8).eval(), torch.rand(2, 3, 9, 10)
    with torch.no_grad():
        network.use_backend("reference")
        expected = network(image)
        network.use_backend("flex")
        assert_close(network(image), expected)


@pytest.mark.parametrize("scale", [3, 4])
@pytest.mark.parametrize("name", golden_files("esc/scale_conversion.npz", beyond_selection=True))
def test_another_scale_starts_as_officially(name, scale):
    recorded = load_golden(name).arrays
    state = {f"to_image.{kind}": recorded[f"x2/to_img.{kind}"] for kind in ("weight", "bias")}
    for kind, value in layout_of(ESC).at_scale(state, scale).items():
        expected = recorded[f"x{scale}/to_img.{kind.removeprefix('to_image.')}"]
        assert_close(value, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("network_class", [ESC, EscFP, EscLTE])
def test_weights_of_one_scale_fit_every_other(network_class):
    source, target = small(network_class, scale=2), small(network_class, scale=5)
    target.load_state_dict(layout_of(network_class).at_scale(source.state_dict(), 5))
    assert target(torch.rand(1, 3, 4, 4)).shape[-1] == 20
    for key, value in layout_of(network_class).at_scale(source.state_dict(), 2).items():
        assert_close(value, source.state_dict()[key], rtol=0, atol=0)


def test_only_the_convolution_that_makes_the_image_can_be_resized():
    with pytest.raises(ValueError, match=r"expected 3 \* scale \* scale rows .* got 16 rows"):
        resize_subpixels(torch.zeros(16, 8, 3, 3), 2)


@pytest.mark.parametrize(
    "preset", sorted({"esc_light", "esc_fp"} & load_golden("keys/init_stats.json").about.keys())
)
def test_weights_are_initialised_as_officially(preset):
    torch.manual_seed(1)
    network = srlab.create_model(preset, scale=4)
    state, recorded = official_state(network), load_golden("keys/init_stats.json").about[preset]
    # ESC-FP's smallest biases: the spread of four numbers says nothing, but their bound is known.
    few = {name for name in recorded if state[name].numel() == 4}
    assert all(name.endswith("plk.proj.1.bias") and state[name].abs().max() <= 16**-0.5 for name in few)
    assert_initialised_as(network, {name: recorded[name] for name in recorded if name not in few})


def test_a_missing_key_is_named():
    state = official_state(small(ESC))
    del state["blocks.0.attn.relative_position_bias"]
    with pytest.raises(KeyError, match=r"blocks\.0\.attn\.relative_position_bias"):
        detect(ESC, state)


def test_padding_the_image_is_another_function_than_padding_the_attention():
    """Why ``size_multiple`` is the window: the official validation pads the image."""
    network, image = small(ESC, window_size=8).double(), torch.rand(1, 3, 7, 7).double()
    assert network.size_multiple == 8
    padded = torch.nn.functional.pad(image, (0, 1, 0, 1), mode="reflect")
    assert deviation(network(padded)[..., :21, :21], network(image)) > 1e-4


@pytest.mark.parametrize(
    ("network_class", "overrides", "message"),
    [
        (ESC, {"num_heads": 3}, r"dim=8 must be a multiple of num_heads=3"),
        (ESC, {"mixed_dim": 9}, r"mixed_dim=9 must be between 2 and dim=8"),
        (EscFP, {"mixed_dim": 3}, r"mixed_dim=3 must be between 4 and dim=8"),
        (ESC, {"kernel_side": 4}, r"kernel_side must be odd and at least 3, got 4; try 5"),
        (EscFP, {"kernel_side": 1}, r"kernel_side must be odd and at least 3, got 1; try 3"),
        (ESC, {"depth": 0}, r"depth must be an integer of at least 1, got 0"),
        (ESC, {"steps_per_block": 0}, r"steps_per_block must be an integer of at least 1, got 0"),
        (ESC, {"window_size": 2.5}, r"window_size must be an integer of at least 1, got 2.5"),
        (ESC, {"ffn_ratio": 0.1}, r"ffn_ratio=0.1 leaves no channel of dim=8; use at least 0.125"),
        (
            ESC,
            {"backend": "linear"},
            r"no backend 'linear'; choose one of reference, sdpa, flex, fused",
        ),
        (EscReal, {"scale": 2}, r"ESC-Real upsamples by 4 only, got scale=2; use scale=4"),
        (EscLTE, {"query_dim": 7}, r"query_dim=7 must be even: half cosines, half sines; use 8"),
        (EscLTE, {"scale": 0}, r"scale must be an integer of at least 1, got 0"),
    ],
)
def test_impossible_arguments_are_refused(network_class, overrides, message):
    with pytest.raises(ValueError, match=message):
        small(network_class, **overrides)


def test_esc_real_has_no_other_scale_to_start_from():
    assert EscReal.published_scales == (4,)
