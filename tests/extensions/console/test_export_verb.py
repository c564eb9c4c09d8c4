"""srlab export: from a checkpoint to a file, with messages for what cannot be done."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file

from narrow_networks import narrow, require
from srlab.checkpoints import save_official
from srlab.checkpoints.shipped import shipped_weights
from srlab.extensions.console.main import main
from srlab.extensions.export.formats import find_format


def test_an_official_file_becomes_an_onnx_file_that_names_it(tmp_path, monkeypatch, capsys):
    require("onnx")
    monkeypatch.chdir(tmp_path)
    save_official(narrow("edsr_baseline"), "edsr.pth")
    assert main(["export", "edsr.pth", "--to", "onnx", "--out", "edsr.onnx", "--size", "9x8"]) == 0
    printed = capsys.readouterr().out
    assert "1x9x8: largest difference" in printed
    assert "wrote edsr.onnx: EDSR x2 in float32" in printed
    found = find_format("onnx").metadata(tmp_path / "edsr.onnx")
    assert found["source"] == "edsr.pth"
    assert found["source_sha256"] == hashlib.sha256((tmp_path / "edsr.pth").read_bytes()).hexdigest()
    assert found["size"] == "9x8"
    assert json.loads(found["parity"])["sizes"] == ["1x9x8"]
    assert main(["export", "edsr.pth", "--to", "onnx", "--out", "edsr.onnx"]) == 2
    assert "add --overwrite" in capsys.readouterr().err


def test_a_preset_has_the_weights_that_come_with_srlab_or_it_is_said(tmp_path, monkeypatch, capsys):
    exported = []

    def stop(network, *_, **__):
        exported.append(network.state_dict())
        raise ValueError("nothing is written here")

    monkeypatch.setattr("srlab.extensions.export.writing.export_network", stop)
    for name in ("elan_tiny", "elan_demo"):
        words = ["export", name, "--scale", "2", "--to", "pt2", "--size", "24x24"]
        main([*words, "--out", str(tmp_path / "file.pt2")])
        assert ("with random weights" in capsys.readouterr().out) == (name == "elan_demo")
    shipped = load_file(shipped_weights()["elan_tiny"][2])
    assert shipped
    assert all(torch.equal(exported[0][key], value) for key, value in shipped.items())
    assert main(["export", "elan_tiny", "--scale", "5", "--to", "pt2", "--out", str(tmp_path / "a.pt2")]) == 2
    assert "not for scale=5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "absent.pth", "--to", "pt2", "--out", "file.pt2"], "absent.pth"),
        (["export", "elan_demo", "--to", "pt2", "--out", "file.onnx"], "must end in .pt2"),
        (["export", "esc", "--to", "pt2", "--out", "file.pt2"], "cannot be written as pt2 of any size"),
    ],
)
def test_a_wrong_command_is_one_message(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
