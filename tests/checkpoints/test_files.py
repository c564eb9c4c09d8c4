"""What is damaged, foreign or dangerous is told so, and never run."""

import collections
import pickle
import random
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from checkpoint_samples import ELAN_ARGUMENTS, Bomb, assert_same_function, ours
from srlab.checkpoints import load_model


@pytest.mark.parametrize("place", ["params", "extra"])
def test_code_in_a_file_never_runs(swinir, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"params": swinir.to_official(), place: Bomb()}, "bomb.pth")
    with pytest.raises(ValueError, match=r"bomb.pth asks for \w+.mkdir, which could run code; only tensors"):
        load_model("bomb.pth")
    assert not (tmp_path / "exploded").exists()


def test_what_is_no_checkpoint_is_refused(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    torch.save({"a": torch.zeros(3), "b": 1}, tmp_path / "foreign.pth")
    torch.save({"srlab": {"scale": 2}}, tmp_path / "torso.ckpt")
    for name, error, message in [
        ("tensor.pth", ValueError, "holds a Tensor, expected a dictionary"),
        (
            "foreign.pth",
            ValueError,
            r"no known network has such weights \(known: .*ELAN.*; it holds 1 tensors: a$",
        ),
        ("torso.ckpt", ValueError, "lacks srlab.model or state_dict"),
        ("absent.pth", FileNotFoundError, "no checkpoint at .*absent.pth"),
        (".", FileNotFoundError, "is a folder without checkpoints/best.ckpt or checkpoints/last.ckpt"),
    ]:
        with pytest.raises(error, match=message):
            load_model(tmp_path / name)


def test_ordered_dictionaries_are_state_dicts_too(elan, tmp_path):
    torch.save(collections.OrderedDict(elan.to_official()), tmp_path / "elan.pt")
    assert_same_function(load_model(tmp_path / "elan.pt", window_sizes=[2, 4]), elan)


def write_swinir(network, path):
    torch.save({"params": network.to_official()}, path)


def write_elan(network, path):
    torch.save({"model_state_dict": network.to_official()}, path)


def write_legacy(network, path):
    torch.save(network.to_official(), path, _use_new_zipfile_serialization=False)


def write_ours(network, path):
    torch.save(ours(network, arguments=ELAN_ARGUMENTS), path)


def write_safetensors(network, path):
    save_file({key: value.clone().contiguous() for key, value in network.to_official().items()}, path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize(
    ("network", "write", "name"),
    [
        ("elan", write_elan, "elan.pt"),
        ("elan", write_legacy, "old.pt"),
        ("elan", write_ours, "best.ckpt"),
        ("elan", write_safetensors, "elan.safetensors"),
        ("swinir", write_swinir, "swinir.pth"),
    ],
)
def test_truncated_files_are_called_so(network, write, name, share, tmp_path, request):
    file = tmp_path / name
    write(request.getfixturevalue(network), file)
    load_model(file)
    cut = int(file.stat().st_size * share)
    file.write_bytes(file.read_bytes()[:cut])
    message = rf"{name} is truncated or damaged \({cut} bytes; .+\); download or copy it again$"
    with pytest.raises(ValueError, match=message):
        load_model(file)


def test_a_seek_before_the_file_means_damage(elan, tmp_path, monkeypatch):
    write_elan(elan, tmp_path / "elan.pt")
    monkeypatch.setattr(torch, "load", raising(OSError(22, "Invalid argument")))
    with pytest.raises(ValueError, match=r"elan.pt is truncated or damaged .*Invalid argument"):
        load_model(tmp_path / "elan.pt")


@pytest.mark.parametrize(
    "error", [PermissionError(13, "denied"), FileNotFoundError(2, "gone"), OSError(5, "Input/output error")]
)
def test_a_file_that_cannot_be_reached_is_not_called_damaged(elan, error, tmp_path, monkeypatch):
    write_elan(elan, tmp_path / "elan.pt")
    monkeypatch.setattr(torch, "load", raising(error))
    with pytest.raises(type(error), match=re.escape(str(error))):
        load_model(tmp_path / "elan.pt")


def raising(error):
    def fail(*arguments, **options):
        raise error

    return fail


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", r"is text, not a checkpoint; it begins 'hello'"),
        (b"<!DOCTYPE html>" * 9, r"is text, not a checkpoint; it begins '<!DOCTYPE html>"),
        (b"", r"is empty; download or copy it again"),
        (bytes(100), r"is no checkpoint: it begins with 00 00 00 00 00 00 00 00, as no known format does"),
        (pickle.dumps({"a": 1}), r"is a pickle that torch.save did not write; it could run code and is not"),
        (pickle.dumps(Bomb(), 2), r"asks for \w+.mkdir, which could run code; only tensors and plain data"),
        (
            pickle.dumps(Bomb(), 4),
            r"is a pickle that torch.save did not write; it could run code and is not",
        ),
        *((random.Random(seed).randbytes(4096), r"is no checkpoint: it begins with") for seed in range(5)),
    ],
)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_files_of_other_kinds_are_told_what_they_are(content, message, suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / f"file.{suffix}"
    file.write_bytes(content)
    layouts = "" if "asks for" in message else r".*; known are checkpoints .*official state dicts of .*ELAN"
    with pytest.raises(ValueError, match=rf"file.{suffix} {message}{layouts}"):
        load_model(file)
    assert not (tmp_path / "exploded").exists()


def test_numpy_files_are_told_what_they_are(tmp_path):
    np.savez(tmp_path / "w.npz", weight=np.zeros(3))
    np.save(tmp_path / "w.npy", np.zeros(3))
    with pytest.raises(
        ValueError, match=r"w.npz is a NumPy archive, not a checkpoint; it holds weight.npy; known"
    ):
        load_model(tmp_path / "w.npz")
    with pytest.raises(ValueError, match=r"w.npy is a NumPy array, not a checkpoint; known are"):
        load_model(tmp_path / "w.npy")


def test_numbered_tensors_are_no_state_dict(tmp_path):
    torch.save({0: torch.zeros(1), "a": torch.zeros(1)}, tmp_path / "list.pth")
    with pytest.raises(
        ValueError, match=r"list.pth: no known network .* keys .* are names, here are 0 \(int\)"
    ):
        load_model(tmp_path / "list.pth")


def test_a_file_without_tensors_tells_what_it_holds(tmp_path):
    torch.save({"epoch": 3, 4: "x"}, tmp_path / "log.pth")
    with pytest.raises(ValueError, match=r"log.pth: no known .* it holds no tensors, only epoch, 4$"):
        load_model(tmp_path / "log.pth")
