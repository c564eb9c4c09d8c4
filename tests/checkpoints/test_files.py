"""What is damaged, foreign or dangerous is told so, and never run."""

import collections
import os
import pickle
import random
import re
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from checkpoint_samples import ELAN_ARGUMENTS, Bomb, assert_same_function, ours
from srlab.checkpoints import load_model, official_state


@pytest.mark.parametrize("place", ["params", "extra"])
def test_code_in_a_file_never_runs(swinir, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"params": official_state(swinir), place: Bomb()}, "bomb.pth")
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
        (".", FileNotFoundError, "is a folder without any of checkpoints/best.ckpt, checkpoints/last.ckpt"),
    ]:
        with pytest.raises(error, match=message):
            load_model(tmp_path / name)


def test_ordered_dictionaries_are_state_dicts_too(elan, tmp_path):
    torch.save(collections.OrderedDict(official_state(elan)), tmp_path / "elan.pt")
    assert_same_function(load_model(tmp_path / "elan.pt", window_sizes=[2, 4]), elan)


def write_swinir(network, path):
    torch.save({"params": official_state(network)}, path)


def write_elan(network, path):
    torch.save({"model_state_dict": official_state(network)}, path)


def write_legacy(network, path):
    torch.save(official_state(network), path, _use_new_zipfile_serialization=False)


def write_ours(network, path):
    torch.save(ours(network, arguments=ELAN_ARGUMENTS), path)


def write_safetensors(network, path):
    save_file({key: value.clone().contiguous() for key, value in official_state(network).items()}, path)


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
        (b"\x1f\x8b\x08" + bytes(90), r"is a gzip archive; unpack it"),
        (b"BZh9" + bytes(90), r"is a bzip2 archive; unpack it"),
        (b"\xfd7zXZ\x00" + bytes(90), r"is an xz archive; unpack it"),
        (b"\x89HDF\r\n\x1a\n" + bytes(90), r"is an HDF5 file, as Keras and MATLAB write; in PyTorch, save"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3600\n",
            r"is a Git LFS pointer \(69 bytes\), not the file .* `git lfs pull`",
        ),
        (
            "<html><title>Größe</title>".encode(),
            r"is text, .* '<html><title>Größe</title>': a web page. Down",
        ),
        ("<HTML lang='fr'>é".encode("latin-1"), r"is text, .* a web page. Download the file itself"),
        (("x" * 511 + "é").encode(), r"is text, not a checkpoint; it begins 'xxx"),
        ("Größe".encode(), r"is text, not a checkpoint; it begins 'Größe'"),
        *((random.Random(seed).randbytes(4096), r"is no checkpoint: it begins with") for seed in range(5)),
    ],
)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_files_of_other_kinds_are_told_what_they_are(content, message, suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / f"file.{suffix}"
    file.write_bytes(content)
    layouts = "" if "asks for" in message else r".*; known are checkpoints .* \(docs/networks.md\)"
    with pytest.raises(ValueError, match=rf"file.{suffix} {message}{layouts}"):
        load_model(file)
    assert not (tmp_path / "exploded").exists()


def test_numpy_files_are_told_what_they_are(tmp_path):
    np.savez(tmp_path / "w.npz", weight=np.zeros(3))
    np.save(tmp_path / "w.npy", np.zeros(3))
    with pytest.raises(
        ValueError, match=r"w.npz is a zip archive, not a checkpoint; it holds weight.npy; known"
    ):
        load_model(tmp_path / "w.npz")
    with pytest.raises(ValueError, match=r"w.npy is a NumPy array, not a checkpoint; known are"):
        load_model(tmp_path / "w.npy")


def test_numbered_tensors_are_no_state_dict(tmp_path):
    torch.save({0: torch.zeros(1), "a": torch.zeros(1)}, tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list.pth: no known network .* it holds 2 tensors: 0, a$"):
        load_model(tmp_path / "list.pth")


def test_a_file_without_tensors_tells_what_it_holds(tmp_path):
    torch.save({"epoch": 3, 4: "x"}, tmp_path / "log.pth")
    with pytest.raises(ValueError, match=r"log.pth: no known .* it holds no tensors, only epoch, 4$"):
        load_model(tmp_path / "log.pth")


def test_torchscript_is_told_from_a_damaged_file(tmp_path):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "script.pt")
    with pytest.raises(
        ValueError, match=r"script.pt is a TorchScript archive, .* torch.jit.load, and save its"
    ):
        load_model(tmp_path / "script.pt")


def test_zip_archives_are_told_what_they_hold(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("x/model.pth", "content")
    with pytest.raises(ValueError, match=r"is a zip archive, not a checkpoint; it holds x/model.pth; known"):
        load_model(tmp_path / "a.pth")


def test_a_header_of_safetensors_that_is_no_json_is_damage(tmp_path):
    (tmp_path / "a.safetensors").write_bytes((20).to_bytes(8, "little") + b"{not json at all....")
    with pytest.raises(ValueError, match=r"a.safetensors is truncated or damaged \(28 bytes; .*header"):
        load_model(tmp_path / "a.safetensors")


def test_a_whole_module_is_told_to_hold_code(tmp_path):
    torch.save({"net": torch.nn.Conv2d(1, 1, 1)}, tmp_path / "module.pth")
    with pytest.raises(
        ValueError, match=r"asks for torch.nn.modules.conv.Conv2d, .* Save the state dict alone"
    ):
        load_model(tmp_path / "module.pth")


def test_links_folders_and_devices_are_told_apart(elan, tmp_path):
    (tmp_path / "loop.pth").symlink_to("loop.pth")
    (tmp_path / "dangling.pth").symlink_to("gone.pth")
    (tmp_path / "folder").mkdir()
    write_elan(elan, tmp_path / "folder" / "elan.pt")
    os.mkfifo(tmp_path / "pipe")
    for name, error, message in [
        ("loop.pth", FileNotFoundError, "it is a broken link to loop.pth"),
        ("dangling.pth", FileNotFoundError, "it is a broken link to gone.pth"),
        ("folder", FileNotFoundError, "is a folder .* name a checkpoint file$"),
        ("pipe", ValueError, "is not a regular file, so it cannot be a checkpoint$"),
    ]:
        with pytest.raises(error, match=message):
            load_model(tmp_path / name)
