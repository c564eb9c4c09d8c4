"""Files in, networks out: our own, and the authors'."""

import logging

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import srlab
from checkpoint_samples import ELAN_ARGUMENTS, assert_same_function, ours
from srlab.app.presets import build_network
from srlab.app.renamed_keys import RENAMED_KEYS
from srlab.checkpoints import load_model, load_strictly, official_state, read_checkpoint
from srlab.models.elan import ELAN
from srlab.models.registry import RENAMED_ARGUMENTS


def test_official_elan_file_with_everything_that_its_training_script_writes(elan, tmp_path, caplog):
    optimizer = torch.optim.Adam(elan.parameters())
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [250, 400])
    content = {
        "epoch": 500,
        "model_state_dict": {f"module.{key}": value for key, value in official_state(elan).items()},
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": scheduler.state_dict(),
        "stat_dict": {
            "losses": [1.5],
            "set5": {"best_psnr": {"value": np.float64(30.1), "epoch": np.int64(3)}},
        },
    }
    torch.save(content, tmp_path / "model_x3_500.pt")
    with caplog.at_level(logging.INFO, logger="srlab.checkpoints.loading"):
        network, description = read_checkpoint(tmp_path / "model_x3_500.pt", window_sizes=[2, 4])
    assert_same_function(network, elan)
    assert not network.training
    assert (description["network"], description["layout"], description["scale"]) == ("ELAN", "official", 3)
    assert description["assumed"] == ("shift_schedule",)
    assert "official layout, ELAN: scale=3, dim=30, depth=4, n_share=1, window_sizes=[2, 4]" in caplog.text
    assert "not in the file, assumed: shift_schedule=alternate" in caplog.text


def test_windows_of_official_elan_files_are_assumed_as_published_and_this_is_said(tmp_path, caplog):
    published = srlab.create_model("elan_demo", scale=2).eval()
    torch.save(official_state(published), tmp_path / "elan.pt")
    with caplog.at_level(logging.INFO, logger="srlab.checkpoints.loading"):
        assert_same_function(load_model(tmp_path / "elan.pt"), published)
    assert "not in the file, assumed: window_sizes=[4, 8, 16], shift_schedule=alternate" in caplog.text
    remedies = [
        "window_sizes=… to load_model",
        "--set window_sizes=… to srlab convert",
        "+overrides.window_sizes=…",
    ]
    assert all(remedy in caplog.text for remedy in remedies)


@pytest.mark.parametrize("container", ["params", "params_ema", None])
@pytest.mark.parametrize("buffers", [True, False], ids=["with buffers", "without buffers"])
def test_official_swinir_files(swinir, container, buffers, tmp_path):
    state = official_state(swinir, img_size=48)
    if not buffers:
        state = {
            key: value
            for key, value in state.items()
            if not key.endswith(("attn_mask", "relative_position_index"))
        }
    torch.save({container: state} if container else state, tmp_path / "swinir.pth")
    assert_same_function(load_model(tmp_path / "swinir.pth"), swinir)


def test_files_of_implicit_image_functions_keep_their_weights_deeper(swinir, tmp_path):
    model = {"name": "lte", "args": {"hidden_dim": 256}, "sd": official_state(swinir)}
    torch.save({"model": model, "optimizer": {"name": "adam"}, "epoch": 1}, tmp_path / "epoch-last.pth")
    assert_same_function(load_model(tmp_path / "epoch-last.pth"), swinir)


def test_averaged_weights_are_preferred_and_this_is_said(swinir, tmp_path, caplog):
    other = {key: torch.zeros_like(value) for key, value in official_state(swinir).items()}
    torch.save({"params": other, "params_ema": official_state(swinir)}, tmp_path / "both.pth")
    assert_same_function(load_model(tmp_path / "both.pth"), swinir)
    assert "read params_ema, not the other weights in params; container=params reads those" in caplog.text
    assert not load_model(tmp_path / "both.pth", container="params").conv_first.weight.any()
    with pytest.raises(ValueError, match="has no weights called state_dict; it has params_ema, params"):
        load_model(tmp_path / "both.pth", container="state_dict")


def test_equal_weights_under_two_names_are_no_matter(swinir, tmp_path, caplog):
    state = official_state(swinir)
    torch.save({"params": state, "params_ema": {**state}}, tmp_path / "both.pth")
    load_model(tmp_path / "both.pth")
    assert "are not read" not in caplog.text


def test_weights_that_do_not_carry_over_to_a_scale_are_told_so(swinir, tmp_path):
    torch.save(official_state(swinir), tmp_path / "x2.pth")
    message = r"x2.pth holds SwinIR x2, and its weights cannot be converted to x3 .*: leave scale out"
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path / "x2.pth", scale=3)


def test_weights_that_are_no_numbers_are_told(swinir, tmp_path, caplog):
    state = official_state(swinir)
    state["conv_first.bias"] = torch.full_like(state["conv_first.bias"], torch.nan)
    torch.save(state, tmp_path / "nan.pth")
    load_model(tmp_path / "nan.pth")
    assert "nan.pth has NaN or infinite weights: conv_first.bias" in caplog.text


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("edsr_baseline", {"dim": 8, "depth": 2}),
        ("elan_demo", {"n_share": 3, "expansion": 4}),
        ("swinir", {"dim": 12, "depths": [1], "num_heads": [2]}),
    ],
)
def test_safetensors_in_official_layout(name, changes, scale, tmp_path):
    network = srlab.create_model(name, scale=scale, **changes).eval()
    tensors = {key: value.clone().contiguous() for key, value in official_state(network).items()}
    save_file(tensors, tmp_path / "weights.safetensors")
    assert_same_function(load_model(tmp_path / "weights.safetensors"), network)


def test_our_own_checkpoint_carries_everything(elan, tmp_path):
    torch.save(ours(elan, arguments=ELAN_ARGUMENTS), tmp_path / "best.ckpt")
    network, description = read_checkpoint(tmp_path / "best.ckpt")
    assert_same_function(network, elan)
    assert description["layout"] == "srlab"
    assert description["protocol"] == {"name": "basicsr"}
    assert description["assumed"] == ()


def test_a_checkpoint_of_version_0_1_0_names_windows_by_their_former_argument(swinir, tmp_path):
    arguments = {
        "scale": 2, "dim": 12, "depths": [2, 1], "num_heads": [2, 3], "window_side": 4, "mlp_ratio": 2,
        "head": "pixelshuffledirect", "connection": "1conv", "value_range": 1.0, "drop_path": 0.1,
        "shift_schedule": "alternate", "backend": "auto",
    }  # fmt: skip
    torch.save(ours(swinir, arguments=arguments), tmp_path / "best.ckpt")
    network, description = read_checkpoint(tmp_path / "best.ckpt")
    assert_same_function(network, swinir)
    assert description["model"]["window_size"] == 4
    assert "window_side" not in description["model"]
    former = {"_target_": "srlab.models.swinir.SwinIR", **arguments}
    assert type(build_network(former)) is type(swinir)  # of the configuration of a run
    names = {f"model.{old}": f"model.{new}" for old, new in RENAMED_ARGUMENTS.items()}
    assert names.items() <= RENAMED_KEYS.items()


def test_a_compiled_network_leaves_no_trace_in_its_checkpoint(elan, tmp_path):
    content = ours(elan, arguments=ELAN_ARGUMENTS)
    content["state_dict"] = {
        key.replace("network.", "network._orig_mod."): value for key, value in content["state_dict"].items()
    }
    torch.save(content, tmp_path / "best.ckpt")
    assert_same_function(load_model(tmp_path / "best.ckpt"), elan)


@pytest.mark.parametrize("present", [["best", "last"], ["last"]])
def test_a_run_folder_means_its_best_checkpoint_else_its_last(elan, present, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for index, name in enumerate(present):
        torch.save(
            {**ours(elan, arguments=ELAN_ARGUMENTS, rank=index)}, tmp_path / "checkpoints" / f"{name}.ckpt"
        )
    network, description = read_checkpoint(tmp_path)
    assert description["rank"] == 0
    assert_same_function(network, elan)


def test_overrides_reach_the_network(elan, tmp_path):
    torch.save(ours(elan, arguments=ELAN_ARGUMENTS), tmp_path / "best.ckpt")
    network = load_model(tmp_path / "best.ckpt", shift_schedule="every", backend="reference")
    assert network.backend == "reference"
    assert isinstance(network, ELAN)
    assert [block.shifted for block in network.get_submodule("body").children()] == [True, True]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_of_any_precision_become_float32_and_this_is_said(swinir, dtype, tmp_path, caplog):
    state = {
        key: value.to(dtype) if value.is_floating_point() else value
        for key, value in official_state(swinir).items()
    }
    torch.save(state, tmp_path / "weights.pth")
    assert {parameter.dtype for parameter in load_model(tmp_path / "weights.pth").parameters()} == {
        torch.float32
    }
    assert f"weights in {str(dtype)[6:]}; they are converted to float32" in caplog.text


@pytest.mark.parametrize(
    "target",
    ["os.mkdir", "srlab.models.network.Network", "srlab.models.registry.construct", "srlab.models.no.Net"],
)
def test_a_checkpoint_can_name_nothing_but_our_networks(elan, target, tmp_path):
    content = ours(elan, arguments=ELAN_ARGUMENTS)
    content["srlab"]["model"]["_target_"] = target
    torch.save(content, tmp_path / "best.ckpt")
    with pytest.raises(
        ValueError, match=rf"'{target}' is not a network of srlab; known are .*srlab.models.elan.ELAN"
    ):
        load_model(tmp_path / "best.ckpt")


def test_missing_unexpected_and_misshapen_keys_are_named_and_counted(elan):
    state = elan.state_dict()
    for key in [key for key in state if key.startswith("body.1.local")]:
        del state[key]
    state |= {"surplus": torch.zeros(1), "head.weight": torch.zeros(2, 3, 3, 3)}
    message = (
        r"x.pt does not fit ELAN: 8 missing: body.1.local.0.contract.mix.bias, .* and 3 more; "
        r"1 unexpected: surplus; 1 of another shape: head.weight is \(2, 3, 3, 3\) in the file, \(30"
    )
    with pytest.raises(ValueError, match=message):
        load_strictly(elan, state, source="x.pt")


def test_an_official_file_with_a_hole_is_refused(swinir, tmp_path):
    state = official_state(swinir)
    del state["layers.1.residual_group.blocks.0.mlp.fc2.bias"]
    torch.save(state, tmp_path / "hole.pth")
    with pytest.raises(
        ValueError,
        match=r"hole.pth does not fit SwinIR: 1 missing: layers\.1.residual_group.blocks.0.mlp.fc2.bias$",
    ):
        load_model(tmp_path / "hole.pth")


def test_our_checkpoint_with_strange_entries_names_what_it_lacks(elan, tmp_path):
    content = ours(elan, arguments=ELAN_ARGUMENTS)
    content["state_dict"] |= {7: torch.zeros(1), "network.head.weight": 3.0}
    torch.save(content, tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match=r"best.ckpt does not fit ELAN: 1 missing: head.weight$"):
        load_model(tmp_path / "best.ckpt")


def test_impossible_arguments_name_the_file(elan, tmp_path):
    torch.save(official_state(elan), tmp_path / "elan.pt")
    with pytest.raises(ValueError, match=r"elan.pt: dim=30 channels cannot be divided .* 4 windows"):
        load_model(tmp_path / "elan.pt", window_sizes=[2, 2, 2, 2])
