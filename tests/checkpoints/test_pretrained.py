"""Folders of config.json and model.safetensors, and names in place of paths."""

import copy
import json
import pickle

import pytest
import torch

import srlab
from srlab.checkpoints import LoadedCheckpoint, load_model, read_checkpoint, save_pretrained
from srlab.models.registry import construct, model_of
from srlab.models.sources import MODEL_SOURCES

SMALL = {
    "elan_demo": {"depth": 2, "window_sizes": [2, 4, 8]},
    "swinir_light": {"depths": [1], "num_heads": [6]},
    "hit_sir": {"depths": [2], "num_heads": [6], "window_sizes": [4, 8]},
    "msrresnet": {},
    "bicubic": {},
}


def small(name):
    return srlab.create_model(name, scale=3, **SMALL[name])


@pytest.mark.parametrize("name", SMALL)
def test_a_network_comes_back_bit_for_bit(name, tmp_path):
    network = small(name)
    network.save_pretrained(tmp_path)
    again = load_model(tmp_path)
    assert type(again) is type(network)
    assert model_of(again) == model_of(network)
    assert again.state_dict().keys() == network.state_dict().keys()
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in network.state_dict().items())


def test_the_arguments_survive_copying_and_pickling_and_build_the_same_network():
    network = small("elan_demo")
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network)), construct(model_of(network))):
        assert model_of(copied) == model_of(network)
    assert model_of(network)["window_sizes"] == [2, 4, 8]
    assert "value_range" in model_of(network)  # a default


def test_config_json_is_sorted_and_describes_the_network(tmp_path):
    small("elan_demo").save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    content = json.loads(text)
    assert text == json.dumps(content, indent=2, sort_keys=True) + "\n"
    assert content["architectures"] == ["ELAN"]
    assert content["model"]["window_sizes"] == [2, 4, 8]


def test_the_description_of_a_checkpoint_is_kept(tmp_path):
    network = small("bicubic")
    described = {"model": model_of(network), "step": 7, "protocol": ["basicsr"]}
    save_pretrained(LoadedCheckpoint(network, described), tmp_path)
    assert read_checkpoint(tmp_path).description["step"] == 7


def test_weights_without_config_json_load(tmp_path):
    small("elan_demo").save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    assert load_model(tmp_path).scale == 3


def test_replaced_weights_are_refused(tmp_path):
    small("elan_demo").save_pretrained(tmp_path / "a")
    small("elan_demo").save_pretrained(tmp_path / "b")
    (tmp_path / "a/model.safetensors").replace(tmp_path / "b/model.safetensors")
    with pytest.raises(ValueError, match=r"has sha256 [0-9a-f]{64}, .*config\.json describes [0-9a-f]{64}"):
        load_model(tmp_path / "b")


@pytest.mark.parametrize("config", ["{", "[]", '{"hidden_size": 60}', '{"srlab": 1}'])
def test_a_config_of_another_library_is_refused_with_a_remedy(config, tmp_path):
    small("bicubic").save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match=r"not written by srlab .* load that file"):
        load_model(tmp_path)


def test_a_fused_network_is_refused(tmp_path):
    with pytest.raises(ValueError, match="fused"):
        small("elan_demo").fuse().save_pretrained(tmp_path)


def test_a_folder_without_a_network_names_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"without any of .*last\.ckpt, model\.safetensors"):
        load_model(tmp_path)


def test_a_path_that_exists_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small("elan_demo").save_pretrained("mine")
    small("msrresnet").save_pretrained("theirs")
    monkeypatch.setitem(MODEL_SOURCES._entries, "test", lambda name: tmp_path / "theirs")
    assert type(load_model("mine")).__name__ == "ELAN"
    assert type(load_model("absent")).__name__ == "MSRResNet"
