"""What is written: complete files, in the authors' layout or with a description of their own."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import srlab
from checkpoint_samples import ELAN_ARGUMENTS, assert_same_function, ours
from srlab.checkpoints import load_model, official_state, read_checkpoint, save_official, save_safetensors
from srlab.checkpoints.writing import lost_arguments, official_options
from srlab.models.registry import network_classes


def test_safetensors_carry_all_that_official_files_leave_out(elan, tmp_path):
    torch.save(
        ours(elan, arguments={**ELAN_ARGUMENTS, "shift_schedule": [1, 0]}, step=7), tmp_path / "a.ckpt"
    )
    first = read_checkpoint(tmp_path / "a.ckpt")
    save_safetensors(first, tmp_path / "a.safetensors")
    second = read_checkpoint(tmp_path / "a.safetensors")
    assert_same_function(second.network, first.network)
    assert second.description["step"] == 7
    assert second.description["protocol"] == {"name": "basicsr"}
    assert second.description["model"] == first.description["model"]
    assert second.description["assumed"] == ()


def test_what_an_official_file_did_not_tell_stays_an_assumption(elan, tmp_path):
    save_official(elan, tmp_path / "elan.pt")
    save_safetensors(read_checkpoint(tmp_path / "elan.pt", window_sizes=[2, 4]), tmp_path / "e.safetensors")
    description = read_checkpoint(tmp_path / "e.safetensors").description
    assert description["assumed"] == ("shift_schedule",)
    assert description["model"]["window_sizes"] == [2, 4]


def test_masks_of_another_image_size_survive_two_conversions(swinir, tmp_path):
    save_official(swinir, tmp_path / "a.pth", img_size=12)
    save_safetensors(read_checkpoint(tmp_path / "a.pth"), tmp_path / "b.safetensors")
    again = read_checkpoint(tmp_path / "b.safetensors")
    save_official(again.network, tmp_path / "c.pth", **again.description["official_options"])
    first, last = (torch.load(tmp_path / name, weights_only=True)["params"] for name in ("a.pth", "c.pth"))
    assert first.keys() == last.keys()
    assert first["layers.0.residual_group.blocks.1.attn_mask"].shape == (9, 16, 16)
    assert all(torch.equal(value, last[key]) for key, value in first.items())


def test_official_keys_in_safetensors_are_bare_for_other_tools(elan, tmp_path):
    save_official(elan, tmp_path / "elan.safetensors")
    assert load_file(tmp_path / "elan.safetensors").keys() == official_state(elan).keys()
    assert_same_function(load_model(tmp_path / "elan.safetensors", window_sizes=[2, 4]), elan)


def test_a_damaged_description_is_damage(elan, tmp_path):
    save_official(elan, tmp_path / "elan.pt")
    save_safetensors(read_checkpoint(tmp_path / "elan.pt", window_sizes=[2, 4]), tmp_path / "e.safetensors")
    content = (tmp_path / "e.safetensors").read_bytes()
    with safe_open(tmp_path / "e.safetensors", "pt") as archive:
        assert json.loads(archive.metadata()["srlab"])["model"]["dim"] == 30
    damaged = content.replace(b'\\"model\\":', b'\\"model\\"-', 1)
    assert damaged != content
    (tmp_path / "e.safetensors").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"e.safetensors is truncated or damaged"):
        load_model(tmp_path / "e.safetensors")


def test_a_network_without_official_code_says_so_and_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="Bicubic has no official implementation, so no official layout"):
        save_official(srlab.create_model("bicubic", scale=2), tmp_path / "b.pth")
    assert list(tmp_path.iterdir()) == []


def test_unknown_options_and_failed_writes_leave_no_file(swinir, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="layout of SwinIR has no option size; it has img_size"):
        save_official(swinir, tmp_path / "a.pth", size=3)

    def fail(content, stream):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        save_official(swinir, tmp_path / "a.pth")
    assert list(tmp_path.iterdir()) == []


def test_no_option_of_a_layout_is_also_an_argument_of_a_network():
    import inspect

    for network in network_classes():
        assert not official_options() & set(inspect.signature(network).parameters)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"window_sizes": [8, 8, 8]}, {"window_sizes": [8, 8, 8]}),
        ({"shift_schedule": "none"}, {"shift_schedule": "none"}),
        ({"window_sizes": (4, 8, 16)}, {}),
    ],
)
def test_what_an_official_file_cannot_say_is_listed(changes, expected, tmp_path):
    save_official(srlab.create_model("elan_demo", scale=2), tmp_path / "elan.pt")
    assert lost_arguments(read_checkpoint(tmp_path / "elan.pt", **changes)) == expected
