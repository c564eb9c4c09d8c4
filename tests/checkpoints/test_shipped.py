"""Weights that come with srlab: found by name and scale; scored and continued by name."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import srlab
from srlab.checkpoints import LoadedCheckpoint, save_safetensors, shipped
from srlab.checkpoints.shipped import shipped_file, shipped_weights
from srlab.models.registry import model_of
from training_runs import ROOT


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder of weights with elan_demo at x2 and x4, and edsr_baseline at x3."""
    folder = tmp_path / "weights"
    folder.mkdir()
    torch.manual_seed(0)
    for name, scale, arguments in (
        ("elan_demo", 2, {}),
        ("elan_demo", 4, {}),
        ("edsr", 3, {"depth": 1, "dim": 4}),
    ):
        network = srlab.create_model(name, scale=scale, **arguments)
        save_safetensors(
            LoadedCheckpoint(network, {"model": model_of(network)}), folder / f"{name}_x{scale}.safetensors"
        )
    (folder / "README.md").write_text("not weights")
    monkeypatch.setattr(shipped, "_FOLDER", folder)
    return folder


def test_they_are_found_by_preset_and_scale(weights):
    assert {name: list(files) for name, files in shipped_weights().items()} == {
        "edsr": [3],
        "elan_demo": [2, 4],
    }
    assert (
        shipped_file("elan_demo", 4)
        == shipped_file("elan_demo_x4", None)
        == weights / "elan_demo_x4.safetensors"
    )
    assert shipped_file("edsr", None) == weights / "edsr_x3.safetensors"
    assert shipped_file("elan", 4) is None
    with pytest.raises(ValueError, match=r"weights of elan_demo for x2, x4: not for scale=3"):
        shipped_file("elan_demo", 3)
    with pytest.raises(ValueError, match=r"weights of elan_demo for x2, x4: add scale=2 or --scale 2"):
        srlab.load_model("elan_demo")


def test_a_network_is_loaded_by_name(weights):
    image = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        expected = srlab.load_model(weights / "elan_demo_x2.safetensors")(image)
        for loaded in (srlab.load_model("elan_demo", scale=2), srlab.load_model("elan_demo_x2")):
            assert torch.equal(loaded(image), expected)


def test_evaluate_scores_all_scales_of_a_pretrained_network(weights, tmp_path, monkeypatch):
    score(tmp_path, monkeypatch, "model=elan_demo")
    record = json.loads((tmp_path / "scores/evaluation.json").read_text())
    found = {each["scale"] if "scale" in each else each["report"]["scale"] for each in record["evaluations"]}
    assert found == {2, 4}


def test_evaluate_refuses_what_trained_weights_do_not_allow(weights, tmp_path, monkeypatch, capsys):
    for words, told in (
        (["model=elan"], "srlab has no weights of elan, only of edsr, elan_demo; give checkpoint=FILE"),
        (["model=elan_demo", "model.dim=12"], "model.dim=12 would have no effect: trained weights determine"),
        (["model=elan_demo", "scale=3"], "weights of elan_demo for x2, x4: not for scale=3"),
    ):
        with pytest.raises(SystemExit, match="2"):
            score(tmp_path, monkeypatch, *words)
        assert told in capsys.readouterr().out


def score(tmp_path, monkeypatch, *words):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(tmp_path)
    import evaluate as entry_point

    (tmp_path / "photos").mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos/noise.png")
    rest = ["pretrained=true", "data=images", "data.root=photos", "paths.cache=cache", "latency.repeats=1"]
    rest += ["latency.output_size=[48,48]", "hydra.run.dir=scores"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *words, *rest])
    entry_point.main()
