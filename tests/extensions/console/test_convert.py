"""srlab convert: from files to files, with nothing lost and nothing overwritten."""

import os

import pytest
import torch

import srlab
from checkpoint_samples import ELAN_ARGUMENTS, assert_same_function, ours
from srlab.checkpoints import load_model, official_state, save_official
from srlab.extensions.console.main import main


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run's folder with its best checkpoint, as ``outputs``."""
    monkeypatch.chdir(tmp_path)
    network = srlab.create_model("elan_demo", scale=3, window_sizes=[2, 4], depth=4).eval()
    (tmp_path / "outputs" / "checkpoints").mkdir(parents=True)
    torch.save(ours(network, arguments=ELAN_ARGUMENTS), tmp_path / "outputs" / "checkpoints" / "best.ckpt")
    return network


def test_a_run_becomes_an_official_file_and_a_safetensors_file(run, capsys):
    assert main(["convert", "outputs", "elan.pt", "--to", "official"]) == 0
    assert main(["convert", "outputs", "elan.safetensors", "--to", "safetensors"]) == 0
    printed = capsys.readouterr().out
    assert "best.ckpt: srlab layout, ELAN: scale=3, dim=30" in printed
    assert "wrote elan.safetensors: ELAN x3" in printed
    assert "the official layout does not store window_sizes=[2, 4]: give it when" in printed
    assert_same_function(load_model("elan.safetensors"), run)
    assert_same_function(load_model("elan.pt", window_sizes=[2, 4]), run)
    state = torch.load("elan.pt", weights_only=True)["model_state_dict"]
    assert state.keys() == {f"module.{key}" for key in official_state(run)}


def test_what_the_file_does_not_hold_is_given_on_the_command_line(run):
    save_official(run, "elan.pt")
    words = ["elan.pt", "elan.safetensors", "--to", "safetensors", "--set", "window_sizes=[2,4]"]
    assert main(["convert", *words]) == 0
    assert_same_function(load_model("elan.safetensors"), run)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["outputs", "present.pt", "--to", "official"], "present.pt exists; choose another name"),
        (
            ["outputs", "a.pt", "--to", "safetensors"],
            "a.pt would hold safetensors: give it a name that ends in",
        ),
        (["absent", "a.pt", "--to", "official"], "no checkpoint at absent"),
        (["present.pt", "a.pt", "--to", "official"], "present.pt is text, not a checkpoint"),
        (["outputs", "a.pt", "--to", "official", "--set", "windows=3"], "unknown: windows"),
        (
            ["outputs", "a.pt", "--to", "official", "--set", "img_size=48"],
            "layout of ELAN has no option img_size",
        ),
        (
            ["outputs", "a.safetensors", "--to", "safetensors", "--set", "img_size=48"],
            "only the official layout has",
        ),
        (
            ["outputs", "a.pt", "--to", "official", "--scale", "4"],
            "holds ELAN x3, and its weights cannot be converted to x4",
        ),
        (["outputs", "outputs", "--to", "official"], "outputs is a folder; name a file in it"),
        (["outputs", "pipe", "--to", "official", "--overwrite"], "is not an ordinary file"),
        (["outputs", "present.pt/a.pt", "--to", "official"], "present.pt is not a folder, so"),
        (["present.pt", "present.pt", "--to", "official", "--overwrite"], "is the file to convert"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_writes_nothing(run, arguments, message, tmp_path, capsys):
    (tmp_path / "present.pt").write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    assert main(["convert", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("error:") == 1
    assert (tmp_path / "present.pt").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"outputs", "pipe", "present.pt"}


def test_an_existing_file_is_replaced_when_asked(run, tmp_path):
    (tmp_path / "elan.pt").write_text("old")
    assert main(["convert", "outputs", "elan.pt", "--to", "official", "--overwrite"]) == 0
    assert_same_function(load_model("elan.pt", window_sizes=[2, 4]), run)
