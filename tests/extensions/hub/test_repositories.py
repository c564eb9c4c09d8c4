"""Networks from and to repositories, by huggingface_hub's own client against a server on loopback."""

import json
import re
import sys

import pytest
import torch
import yaml

import srlab
from hub_server import hub_server
from srlab.checkpoints import save_pretrained


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A server that the client takes for the Hub, with a cache of its own."""
    constants = pytest.importorskip("huggingface_hub.constants", reason='needs pip install -e ".[hub]"')
    for name in ("http_proxy", "HTTP_PROXY", "SRLAB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    with hub_server() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", re.sub("^https?://[^/]+", running.url, template)
        )
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        yield running


@pytest.fixture
def network():
    torch.manual_seed(0)
    return srlab.create_model("elan_demo", scale=2, depth=2)


def files_of(network, folder):
    save_pretrained(network, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_equal(one, other):
    assert type(one) is type(other)
    assert one.state_dict().keys() == other.state_dict().keys()
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_a_pushed_network_loads_bit_for_bit(hub, network):
    url = srlab.push_to_hub(network, "me/elan", licence="mit", private=True)
    assert url.startswith(f"{hub.url}/me/elan/commit/")
    assert hub.private == {"me/elan": True}
    assert sorted(hub.repositories["me/elan"]["main"]) == ["README.md", "config.json", "model.safetensors"]
    assert_equal(srlab.load_model("me/elan"), network)


def test_a_second_push_replaces_the_first(hub, network):
    srlab.push_to_hub(network, "me/elan", licence="mit")
    with torch.no_grad():
        next(network.parameters()).add_(1)
    srlab.push_to_hub(network, "me/elan", licence="mit")
    assert_equal(srlab.load_model("me/elan"), network)


def test_a_revision_is_pinned(hub, network, tmp_path):
    old, new = network, srlab.create_model("elan_demo", scale=3, depth=2)
    hub.repositories["you/elan"] = {
        "main": files_of(new, tmp_path / "a"),
        "v1": files_of(old, tmp_path / "b"),
    }
    assert_equal(srlab.load_model("you/elan"), new)
    assert_equal(srlab.load_model("you/elan@v1"), old)
    assert_equal(srlab.load_model(f"you/elan@{hub.commit_of('you/elan', 'v1')}"), old)
    with pytest.raises(FileNotFoundError, match="you/elan@v2: the repository has no such revision"):
        srlab.load_model("you/elan@v2")


def test_only_the_two_files_are_downloaded(hub, network, tmp_path):
    files = files_of(network, tmp_path / "a") | {"modeling.py": b"raise SystemExit", "notes.txt": b""}
    hub.repositories["you/elan"] = {"main": files}
    srlab.load_model("you/elan")
    fetched = {path.rpartition("/")[-1] for method, path in hub.requests if "/resolve/" in path}
    assert fetched == {"config.json", "model.safetensors"}


def test_offline_reads_the_cache_and_asks_nothing(hub, network, tmp_path, monkeypatch):
    hub.repositories["you/elan"] = {"main": files_of(network, tmp_path / "a")}
    monkeypatch.setenv("SRLAB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match="not in the Hub's cache"):
        srlab.load_model("you/elan")
    assert not hub.requests
    monkeypatch.setenv("SRLAB_OFFLINE", "0")
    srlab.load_model("you/elan")
    asked = len(hub.requests)
    monkeypatch.setenv("SRLAB_OFFLINE", "1")
    assert_equal(srlab.load_model("you/elan"), network)
    assert len(hub.requests) == asked


def test_what_is_no_repository_and_no_network_is_said(hub):
    with pytest.raises(FileNotFoundError, match="no file or folder you/typo, and no such repository"):
        srlab.load_model("you/typo")
    hub.repositories["you/empty"] = {"main": {"README.md": b"nothing"}}
    with pytest.raises(FileNotFoundError, match=r"you/empty has no model\.safetensors"):
        srlab.load_model("you/empty")


def test_weights_that_their_config_does_not_describe_are_refused(hub, network, tmp_path):
    files, other = files_of(network, tmp_path / "a"), srlab.create_model("elan_demo", scale=2, depth=2)
    files["model.safetensors"] = files_of(other, tmp_path / "b")["model.safetensors"]
    hub.repositories["you/elan"] = {"main": files}
    with pytest.raises(ValueError, match=r"config\.json describes"):
        srlab.load_model("you/elan")


def test_paths_that_are_missing_do_not_ask_the_hub(hub, tmp_path):
    (tmp_path / "outputs").mkdir()
    for path in ("outputs/elan", "weights/elan.pth", "elan", "a/b/c", "./me/elan", "/me/elan"):
        with pytest.raises(FileNotFoundError, match="no checkpoint at"):
            srlab.load_model(path)
    assert not hub.requests


def test_the_pushed_card_has_the_metadata_that_the_hub_reads(hub, network):
    srlab.push_to_hub(network, "me/elan", licence="mit")
    card = hub.repositories["me/elan"]["main"]["README.md"].decode()
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["license"] == "mit"
    assert metadata["library_name"] == "srlab"
    assert metadata["pipeline_tag"] == "image-to-image"
    assert {"super-resolution", "elan", "x2"} <= set(metadata["tags"])
    assert 'srlab.load_model("me/elan")' in card


def test_without_huggingface_hub_the_extra_is_named(monkeypatch, tmp_path, network):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r'there is no file me/elan.*pip install -e "\.\[hub\]"'):
        srlab.load_model("me/elan")
    with pytest.raises(ValueError, match=r'pip install -e "\.\[hub\]"'):
        srlab.push_to_hub(network, "me/elan", licence="mit")
    network.save_pretrained("elan")
    assert_equal(srlab.load_model("elan"), network)
    assert json.loads((tmp_path / "elan/config.json").read_text())["library_name"] == "srlab"
