"""SST and ESC-RIB, its authors' other network with an implicit bias, against recorded official outputs."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import srlab
from golden_files import load_golden
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
from srlab.models.esc.esc_rib import EscRib
from srlab.models.registry import network_classes
from srlab.models.sst import SST

BACKENDS = ("reference", "sdpa")
#: Fixture, class, and what its file does not determine.
RIB = ("esc_rib_x2", EscRib, {"window_size": 8})
LIGHT = ("sst_x2", SST, {"window_sizes": [2, 8]})
SHIFTED = ("sst_x3_shifted", SST, {"window_sizes": [4, 4], "shift_schedule": "alternate"})
SMALL = {
    "scale": 2, "dim": 8, "num_groups": 1, "window_sizes": [2, 4], "num_heads": [2, 1], "ranks": [4, 2],
    "mlp_ratio": 1.5, "bias_dim": 4, "frequencies": 2,
}  # fmt: skip
SMALL_RIB = {
    "scale": 2, "dim": 8, "mixed_dim": 4, "kernel_side": 5, "depth": 1, "steps_per_block": 1,
    "window_size": 4, "num_heads": 2, "ffn_ratio": 4, "step_ffn_ratio": 1.25, "rank": 4, "bias_dim": 4,
    "frequencies": 2,
}  # fmt: skip


def small(network_class, **overrides):
    torch.manual_seed(0)
    return network_class(**{**(SMALL_RIB if network_class is EscRib else SMALL), **overrides})


def official(case, **overrides):
    name, network_class, unsaid = case
    golden = load_golden(f"sst/{name}.npz")
    return golden, rebuild(network_class, golden, **unsaid, **overrides)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", [RIB, LIGHT, SHIFTED], ids=lambda case: case[0])
def test_whole_network_gives_the_official_output(case, backend, dtype):
    golden, network = official(case, backend=backend)
    assert_recorded_outputs(network, golden, dtype, levels=256)


@pytest.mark.parametrize(
    ("case", "modules"),
    [
        (RIB, {"attention": "encoder.blocks.0.attention", "block": "encoder.blocks.0"}),
        (LIGHT, {"attention": "groups.0.blocks.1.attention", "group": "groups.0"}),
        (SHIFTED, {"group": "groups.0"}),
    ],
    ids=lambda case: case[0] if isinstance(case, tuple) else "",
)
def test_parts_give_the_official_outputs(case, modules):
    golden, network = official(case)
    found = {}
    for part, module in modules.items():
        keep = lambda _module, _inputs, output, part=part: found.update({part: output})  # noqa: E731
        network.get_submodule(module).register_forward_hook(keep)
    with torch.no_grad():
        network.double()(golden.arrays["x0"].double() / 256)
    for part in modules:
        assert deviation(found[part], golden.arrays[f"m/{part}"]) <= 1e-9


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", [RIB, LIGHT], ids=lambda case: case[0])
def test_a_training_step_has_the_official_loss_and_gradients(case, backend):
    golden, network = official(case, backend=backend)
    sr_image = network.double().train()(golden.arrays["t/input"].double() / 256)
    loss = F.l1_loss(sr_image, golden.arrays["t/target"].double())
    assert loss.item() == pytest.approx(golden.about["loss"], abs=1e-9)
    loss.backward()
    assert_gradients_match(network, golden)


@pytest.mark.parametrize("case", [RIB, LIGHT, SHIFTED], ids=lambda case: case[0])
def test_detected_arguments_and_the_official_state_are_the_recorded_ones(case):
    golden, network = official(case)
    config, weights = golden.about["config"], golden.weights()
    arguments = detect(case[1], weights)
    assert arguments is not None
    expected = {
        "scale": config["upscaling_factor"], "dim": config["dim"], "num_heads": config["num_heads"],
        "bias_dim": config["rib_hidden_dim"], "frequencies": config["rib_n_freqs"],
    }  # fmt: skip
    if case is RIB:
        expected |= {
            "mixed_dim": config["pdim"], "kernel_side": config["kernel_size"], "depth": config["n_blocks"],
            "steps_per_block": config["conv_blocks"], "ffn_ratio": 4, "step_ffn_ratio": config["exp_ratio"],
            "rank": config["rank"], "normed_steps": False, "window_size": 64,
        }  # fmt: skip
    else:
        expected |= {
            "num_groups": config["n_blocks"], "mlp_ratio": config["exp_ratio"], "ranks": config["ranks"],
            "window_sizes": [8, 16], "shift_schedule": "none",
        }  # fmt: skip
    assert arguments == {**expected, "backend": "auto"}
    assert [cls for cls in network_classes() if detect(cls, weights)] == [case[1]]
    unsaid = ("window_size",) if case is RIB else ("window_sizes", "shift_schedule")
    assert assumed(case[1], weights) == unsaid
    assert_recorded_state(network, golden)


@pytest.mark.parametrize("case", [RIB, LIGHT, SHIFTED], ids=lambda case: case[0])
def test_an_official_file_is_loaded_with_the_windows_that_it_does_not_hold(case, tmp_path):
    golden, network = official(case)
    torch.save({"params": {}, "params_ema": golden.weights()}, tmp_path / "net_g.pth")
    loaded = srlab.load_model(tmp_path / "net_g.pth", **case[2])
    image = golden.arrays["x0"].float() / 256
    with torch.no_grad():
        assert_close(loaded(image), network(image), rtol=0, atol=0)


def test_unmasked_shifts_wrap():
    assert not small(SST).reach().wraps
    assert small(SST, shift_schedule="alternate").reach().wraps


@pytest.mark.parametrize("case", [RIB, LIGHT], ids=lambda case: case[0])
def test_weights_are_initialised_as_officially(case):
    golden, network = official(case)
    torch.manual_seed(0)
    assert_initialised_as(type(network)(**network.arguments), golden.about["init"])


@pytest.mark.parametrize("network_class", [EscRib, SST])
def test_both_backends_are_one_function_with_one_gradient(network_class):
    first, second = (small(network_class, backend=backend).double() for backend in BACKENDS)
    image = torch.rand(2, 3, 11, 6, dtype=torch.float64)
    assert_equal_up_to_rounding(outputs_and_gradients(second, image), outputs_and_gradients, first, image)


@pytest.mark.parametrize("network_class", [EscRib, SST])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (3, 2)], ids=str)
def test_every_size_is_enlarged_exactly_and_a_batch_is_its_images(network_class, size):
    network, images = small(network_class, scale=3).double().eval(), torch.rand(3, 3, *size).double()
    with torch.no_grad():
        results = network(images)
        apart = [network(image[None]) for image in images]
    assert results.shape == (3, 3, 3 * size[0], 3 * size[1])
    assert_close(results, torch.cat(apart))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("network_class", [EscRib, SST])
def test_runs_under_bfloat16_autocast(network_class, backend):
    network, image = small(network_class, backend=backend), torch.rand(2, 3, 8, 8)
    plain = network(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = network(image)
        mixed.square().mean().backward()
    assert deviation(mixed, plain) < 0.05


@pytest.mark.parametrize("network_class", [EscRib, SST])
def test_weights_of_one_scale_fit_every_other(network_class):
    source, target = small(network_class, scale=2), small(network_class, scale=5)
    layout = layout_of(network_class)
    target.load_state_dict(layout.at_scale(source.state_dict(), 5))
    assert target(torch.rand(1, 3, 4, 4)).shape[-1] == 20
    for key, value in layout.at_scale(source.state_dict(), 2).items():
        assert_close(value, source.state_dict()[key], rtol=0, atol=0)


def test_one_network_has_the_keys_of_any_number_of_groups_and_blocks():
    for changes in ({"num_groups": 12}, {"window_sizes": [2] * 11, "num_heads": [1] * 11, "ranks": [2] * 11}):
        network = small(SST, **changes)
        official_names = official_state(network)
        assert len(official_names) == len(network.state_dict())
        assert layout_of(SST).to_ours(official_names).keys() == network.state_dict().keys()


@pytest.mark.slow  # compiles
@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("network_class", [EscRib, SST])
def test_compiles_to_one_graph_that_computes_the_same(network_class, backend):
    network = small(network_class, backend=backend).eval()
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    image = torch.rand(1, 3, 9, 10)
    with torch.no_grad():
        assert_close(compiled(image), network(image))
    torch.compiler.reset()


@pytest.mark.parametrize(
    ("network_class", "overrides", "message"),
    [
        (SST, {"num_heads": [3, 1]}, r"dim=8 must be a multiple of num_heads=3"),
        (
            SST,
            {"ranks": [4]},
            r"window_sizes has 2 entries and num_heads has 2 entries and ranks has 1 entries",
        ),
        (
            SST,
            {"window_sizes": [2, 0]},
            r"window_sizes\[1\] must be an integer of at least 1, got 0",
        ),
        (SST, {"mlp_ratio": 0.1}, r"mlp_ratio=0.1 leaves no channel of dim=8; use at least 0.125"),
        (SST, {"num_groups": 0}, r"num_groups must be an integer of at least 1, got 0"),
        (SST, {"bias_dim": 0}, r"bias_dim must be an integer of at least 1, got 0"),
        (SST, {"frequencies": -1}, r"frequencies must be an integer of at least 0, got -1"),
        (SST, {"shift_schedule": [1]}, r"shift_schedule has 1 entries, but the network has 2 blocks"),
        (EscRib, {"rank": 0}, r"rank must be an integer of at least 1, got 0"),
        (EscRib, {"backend": "fused"}, r"EscRib has no backend 'fused'; choose one of reference, sdpa, auto"),
    ],
)
def test_impossible_arguments_are_refused(network_class, overrides, message):
    with pytest.raises(ValueError, match=message):
        small(network_class, **overrides)
