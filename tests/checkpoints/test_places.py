"""The one dictionary and prefix under which a network lies, wherever a training script put it."""

import argparse
import logging

import pytest
import torch

from checkpoint_samples import assert_same_function
from srlab.checkpoints import load_model, official_state, read_checkpoint


def prefixed(prefix, state):
    return {f"{prefix}{key}": value for key, value in state.items()}


@pytest.mark.parametrize(
    ("place", "prefix"),
    [
        ("params-ema", ""),
        ("model", "module."),
        ("net", "_orig_mod."),
        ("generator", "netG."),
        ("ema", "model."),
        ("weights", "net_g."),
        ("state_dict.model", "netG.module._orig_mod."),
        ("a.b.c.d", "generator."),
    ],
)
def test_any_container_and_any_prefix(swinir, place, prefix, tmp_path):
    content = prefixed(prefix, official_state(swinir))
    for name in reversed(place.split(".")):
        content = {name: content}
    torch.save({**content, "epoch": 3, "options": {"lr": 0.1}}, tmp_path / "theirs.pth")
    network, description = read_checkpoint(tmp_path / "theirs.pth")
    assert_same_function(network, swinir)
    expected = f"{place}.{prefix}".replace("module.", "").replace("_orig_mod.", "").strip(".")
    assert description["container"] == expected


def test_an_averaged_model_of_torch(swinir, tmp_path):
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.Identity()).state_dict()
    state = averaged | prefixed("module.", official_state(swinir))
    assert "n_averaged" in state
    torch.save(state, tmp_path / "averaged.pth")
    assert_same_function(load_model(tmp_path / "averaged.pth"), swinir)


def test_a_generator_beside_its_average_and_its_discriminator(swinir, tmp_path, caplog):
    plain = {key: torch.zeros_like(value) for key, value in official_state(swinir).items()}
    state = (
        prefixed("generator.", plain)
        | prefixed("generator_ema.", official_state(swinir))
        | {"discriminator.conv_first.weight": torch.zeros(4, 3, 3, 3)}
    )
    torch.save({"state_dict": state, "meta": {"iter": 1}}, tmp_path / "gan.pth")
    with caplog.at_level(logging.INFO, logger="srlab.checkpoints"):
        assert_same_function(load_model(tmp_path / "gan.pth"), swinir)
    assert "read state_dict.generator_ema, not the other weights in state_dict.generator" in caplog.text
    for container in ("state_dict.generator", "state_dict.generator_ema"):
        network = load_model(tmp_path / "gan.pth", container=container)
        assert network.conv_first.weight.any() == (container == "state_dict.generator_ema")


def test_several_plain_sets_of_weights_are_named_and_not_chosen_among(swinir, tmp_path):
    other = {key: torch.zeros_like(value) for key, value in official_state(swinir).items()}
    torch.save({"net_a": official_state(swinir), "net_b": other}, tmp_path / "two.pth")
    message = r"two.pth has several sets of weights, in net_a, net_b; container=net_b takes the last one$"
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path / "two.pth")
    assert_same_function(load_model(tmp_path / "two.pth", container="net_a"), swinir)
    with pytest.raises(ValueError, match=r"has no weights called net; it has net_a, net_b$"):
        load_model(tmp_path / "two.pth", container="net")


def test_a_file_of_other_networks_says_what_was_found_where(tmp_path):
    state = {f"feats.{index}.conv.weight": torch.zeros(2) for index in range(7)}
    torch.save(
        {"params": state, "optimizer": {"state": {0: {"exp_avg": torch.zeros(1)}}}}, tmp_path / "o.pth"
    )
    message = (
        r"no known .*; it holds 7 tensors in params: feats.0.conv.weight, .* and 2 more; 1 tensors in opt"
    )
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path / "o.pth")


@pytest.mark.parametrize(
    "keys",
    [
        # the frame and the feed-forward that many transformers took from SwinIR
        ["conv_first.weight", "layers.0.residual_group.blocks.0.mlp.fc1.weight", "upsample.0.weight"],
        # blocks and heads whose names are common
        ["to_feat.weight", "blocks.0.proj.weight", "blocks.0.attn.weight", "last.weight", "to_img.weight"],
        ["head.0.weight", "body.0.conv1.weight", "tail.0.weight"],
    ],
)
def test_common_names_are_no_evidence_of_one_network(keys, tmp_path):
    torch.save({key: torch.zeros(2) for key in keys}, tmp_path / "other.pth")
    with pytest.raises(
        ValueError, match=rf"no known network has such weights .* {len(keys)} tensors: {keys[0]}"
    ):
        load_model(tmp_path / "other.pth")


def test_options_of_a_training_script_do_not_stand_in_the_way(swinir, tmp_path):
    content = {"args": argparse.Namespace(lr=0.1, name="x"), "net": official_state(swinir)}
    torch.save(content, tmp_path / "theirs.pth")
    assert_same_function(load_model(tmp_path / "theirs.pth"), swinir)
