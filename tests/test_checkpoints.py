"""Files in, networks out: official layouts, our own, and what must be refused."""

import collections
import logging
import os
import pickle
import random
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

import srlab
from golden_files import COMMITTED, golden_files, load_golden
from srlab.checkpoints import load_model, load_strictly, read_checkpoint
from srlab.models.edsr import EDSR
from srlab.models.elan import ELAN
from srlab.models.swinir import SwinIR

OURS = [
    name for kind in ("elan/elan_*", "swinir/swinir_*", "cnn/edsr*") for name in golden_files(f"{kind}.npz")
]
FOREIGN = [
    name
    for kind in ("cnn/[rm]*", "hit/*", "esc/*")
    for name in golden_files(f"{kind}.npz", beyond_selection=True)
]


@pytest.fixture
def elan():
    torch.manual_seed(0)
    network = srlab.create_model("elan_demo", scale=3, window_sizes=[2, 4], depth=4)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.get_buffer("running_mean").normal_()
    return network.eval()


@pytest.fixture
def swinir():
    torch.manual_seed(0)
    changes = {"dim": 12, "depths": [2, 1], "num_heads": [2, 3], "window_side": 4}
    return srlab.create_model("swinir_light", scale=2, **changes).eval()


def ours(network, **entries):
    """A checkpoint as the trainer writes it."""
    target = f"{type(network).__module__}.{type(network).__qualname__}"
    model = {"_target_": target, "_convert_": "all", **entries.pop("arguments")}
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    return {
        "state_dict": {**state, "loss.weight": torch.ones(1)},
        "srlab": {"model": model, "protocol": {"name": "basicsr"}, "versions": {"torch": "2"}, **entries},
        "epoch": 3,
        "optimizer_states": [{"state": {}}],
    }


def assert_same_function(first, second, size=(13, 9)):
    image = torch.rand(1, 3, *size)
    with torch.no_grad():
        assert_close(first(image), second(image), rtol=0, atol=0)


def test_official_elan_file_with_everything_that_its_training_script_writes(elan, tmp_path, caplog):
    optimizer = torch.optim.Adam(elan.parameters())
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [250, 400])
    content = {
        "epoch": 500,
        "model_state_dict": {f"module.{key}": value for key, value in elan.to_official().items()},
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": scheduler.state_dict(),
        "stat_dict": {
            "losses": [1.5],
            "set5": {"best_psnr": {"value": np.float64(30.1), "epoch": np.int64(3)}},
        },
    }
    torch.save(content, tmp_path / "model_x3_500.pt")
    with caplog.at_level(logging.INFO, logger="srlab.checkpoints"):
        network, description = read_checkpoint(tmp_path / "model_x3_500.pt", window_sizes=[2, 4])
    assert_same_function(network, elan)
    assert not network.training
    assert (description["network"], description["layout"], description["scale"]) == ("ELAN", "official", 3)
    assert description["assumed"] == ("shift_schedule",)
    assert "official layout, ELAN: scale=3, dim=30, depth=4, n_share=1, window_sizes=[2, 4]" in caplog.text
    assert "does not tell shift_schedule=alternate; assumed as published" in caplog.text


def test_windows_of_official_elan_files_are_assumed_as_published_and_this_is_said(tmp_path, caplog):
    published = srlab.create_model("elan_demo", scale=2).eval()
    torch.save(published.to_official(), tmp_path / "elan.pt")
    with caplog.at_level(logging.INFO, logger="srlab.checkpoints"):
        assert_same_function(load_model(tmp_path / "elan.pt"), published)
    assert "does not tell window_sizes=[4, 8, 16], shift_schedule=alternate" in caplog.text
    assert "override with load_model(path, …) or on the command line, evaluate.py " in caplog.text
    assert "+overrides.window_sizes=[8,8,8]" in caplog.text


@pytest.mark.parametrize("container", ["params", "params_ema", None])
@pytest.mark.parametrize("buffers", [True, False], ids=["with buffers", "without buffers"])
def test_official_swinir_files(swinir, container, buffers, tmp_path):
    state = swinir.to_official(img_size=48)
    if not buffers:
        state = {
            key: value
            for key, value in state.items()
            if not key.endswith(("attn_mask", "relative_position_index"))
        }
    torch.save({container: state} if container else state, tmp_path / "swinir.pth")
    assert_same_function(load_model(tmp_path / "swinir.pth"), swinir)


def test_averaged_weights_are_preferred(swinir, tmp_path):
    other = {key: torch.zeros_like(value) for key, value in swinir.to_official().items()}
    torch.save({"params": other, "params_ema": swinir.to_official()}, tmp_path / "both.pth")
    assert_same_function(load_model(tmp_path / "both.pth"), swinir)


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
    tensors = {key: value.clone().contiguous() for key, value in network.to_official().items()}
    save_file(tensors, tmp_path / "weights.safetensors")
    assert_same_function(load_model(tmp_path / "weights.safetensors"), network)


@pytest.mark.parametrize("file", OURS)
def test_recorded_weights_are_recognised_by_exactly_one_network(file):
    weights = load_golden(file).weights()
    takers = [network.__name__ for network in (ELAN, SwinIR, EDSR) if network.recognise(weights) is not None]
    assert takers == [{"elan": "ELAN", "swinir": "SwinIR", "cnn": "EDSR"}[file.split("/")[0]]]


@pytest.mark.parametrize("file", FOREIGN)
def test_weights_of_other_networks_are_not_taken(file):
    weights = load_golden(file).weights()
    assert [network for network in (ELAN, SwinIR, EDSR) if network.recognise(weights) is not None] == []


ELAN_ARGUMENTS = {
    "scale": 3, "dim": 30, "depth": 4, "n_share": 1, "window_sizes": [2, 4], "expansion": 2,
    "shift_schedule": "alternate", "backend": "auto",
}  # fmt: skip


def test_our_own_checkpoint_carries_everything(elan, tmp_path):
    torch.save(ours(elan, arguments=ELAN_ARGUMENTS), tmp_path / "best.ckpt")
    network, description = read_checkpoint(tmp_path / "best.ckpt")
    assert_same_function(network, elan)
    assert description["layout"] == "srlab"
    assert description["protocol"] == {"name": "basicsr"}
    assert description["assumed"] == ()


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
def test_weights_of_any_precision_become_float32(swinir, dtype, tmp_path):
    state = {
        key: value.to(dtype) if value.is_floating_point() else value
        for key, value in swinir.to_official().items()
    }
    torch.save(state, tmp_path / "weights.pth")
    assert {parameter.dtype for parameter in load_model(tmp_path / "weights.pth").parameters()} == {
        torch.float32
    }


class _Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("place", ["params", "extra"])
def test_code_in_a_file_never_runs(swinir, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"params": swinir.to_official(), place: _Bomb()}, "bomb.pth")
    with pytest.raises(ValueError, match=r"bomb.pth asks for \w+.mkdir, which could run code; only tensors"):
        load_model("bomb.pth")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "target",
    ["os.mkdir", "srlab.models.network.Network", "srlab.models.registry.construct", "srlab.models.no.Net"],
)
def test_a_checkpoint_can_name_nothing_but_our_networks(elan, target, tmp_path):
    content = ours(elan, arguments=ELAN_ARGUMENTS)
    content["srlab"]["model"]["_target_"] = target
    torch.save(content, tmp_path / "best.ckpt")
    with pytest.raises(
        ValueError, match=rf"'{target}' is no network of srlab; known are .*srlab.models.elan.ELAN"
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
    state = swinir.to_official()
    del state["layers.1.residual_group.blocks.0.mlp.fc2.bias"]
    torch.save(state, tmp_path / "hole.pth")
    with pytest.raises(
        ValueError, match=r"hole.pth does not fit SwinIR: 1 missing: groups.1.blocks.0.mlp.contract.bias$"
    ):
        load_model(tmp_path / "hole.pth")


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
        (pickle.dumps(_Bomb(), 2), r"asks for \w+.mkdir, which could run code; only tensors and plain data"),
        (
            pickle.dumps(_Bomb(), 4),
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


FIRST_ELAN = "body.0.modules_lfe.lfe_0.conv0.shift_conv.conv1x1.weight"
TABLE = "layers.0.residual_group.blocks.0.attn.relative_position_bias_table"


@pytest.mark.parametrize(
    ("network", "changes", "message"),
    [
        ("elan", {"tail.0.weight": 1.0}, r"ELAN, but cannot be read at tail.0.weight of shape \(\)"),
        ("elan", {FIRST_ELAN: 1.0}, rf"ELAN, but cannot be read at {FIRST_ELAN} of shape \(\)"),
        ("elan", {"body.x.foo": 1.0}, r"ELAN, but cannot be read at body.x.foo of shape \(\): invalid .*'x'"),
        ("elan", {"body": 1.0}, r"pth does not fit ELAN: 1 unexpected: body$"),
        ("elan", {"body.": 1.0}, r"ELAN, but cannot be read at body. of shape \(\)"),
        ("elan", {"sub_mean.weight": 1.0}, r"ELAN, but cannot be read at sub_mean.weight of .* differs from"),
        ("swinir", {"conv_first.weight": 1.0}, r"SwinIR, but cannot be read at conv_first.weight of shape"),
        ("swinir", {TABLE: 1.0}, rf"SwinIR, but cannot be read at {TABLE} of shape \(\)"),
        ("swinir", {"upsample.0.weight": 1.0}, r"SwinIR, but cannot be read at upsample.0.weight of shape"),
        (
            "swinir",
            {"upsample.0.weight": None, "upsample.0.bias": None},
            r"SwinIR, but lacks upsample.0.weight$",
        ),
    ],
)
def test_a_network_that_cannot_be_read_is_named_with_the_key_at_fault(
    request, network, changes, message, tmp_path
):
    state = request.getfixturevalue(network).to_official()
    for key, value in changes.items():
        state[key] = torch.tensor(value or 0.0)
        if value is None:
            del state[key]
    torch.save(state, tmp_path / "odd.pth")
    looks = "" if "does not fit" in message else "odd.pth looks like "
    with pytest.raises(ValueError, match=looks + message):
        load_model(tmp_path / "odd.pth")


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


def test_our_checkpoint_with_strange_entries_names_what_it_lacks(elan, tmp_path):
    content = ours(elan, arguments=ELAN_ARGUMENTS)
    content["state_dict"] |= {7: torch.zeros(1), "network.head.weight": 3.0}
    torch.save(content, tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match=r"best.ckpt does not fit ELAN: 1 missing: head.weight$"):
        load_model(tmp_path / "best.ckpt")


def test_impossible_arguments_name_the_file(elan, tmp_path):
    write_elan(elan, tmp_path / "elan.pt")
    with pytest.raises(ValueError, match=r"elan.pt: dim=30 channels cannot be divided .* 4 windows"):
        load_model(tmp_path / "elan.pt", window_sizes=[2, 2, 2, 2])


EDSR_START = ["conv_first.weight", "conv_first.bias", "body.0.conv1.weight"]


@pytest.mark.parametrize(
    ("file", "removed", "message"),
    [
        ("keys/elan_light_x4.json", [FIRST_ELAN], rf"\d+ of \d+ keys are ELAN's, .* missing {FIRST_ELAN};"),
        ("keys/elan_light_x4.json", [FIRST_ELAN, "tail.0.weight"], rf"missing {FIRST_ELAN}, tail.0.weight;"),
        (
            "keys/swinir_light_x2.json",
            ["conv_first.weight"],
            r"365 of 366 keys are SwinIR's, .* conv_first.we",
        ),
        ("keys/swinir_light_x2.json", [TABLE], rf"365 of 366 keys are SwinIR's, .* the missing {TABLE};"),
        ("keys/edsr_baseline_x4.json", EDSR_START, r"EDSR's, .* conv_first.weight, body.0.conv1.weight;"),
    ],
)
def test_an_official_file_without_its_first_keys_is_told_which(file, removed, message, tmp_path):
    shapes = load_golden(file).about
    state = {key: torch.zeros(()).expand(shape) for key, (shape, _) in shapes.items() if key not in removed}
    torch.save({**state, "foo.bar": torch.zeros(2)}, tmp_path / "hole.pth")
    with pytest.raises(ValueError, match=rf"hole.pth: .*{message}.* ?unexpected: foo.bar$"):
        load_model(tmp_path / "hole.pth")


RECORDED_KEYS = [
    file for kind in ("elan", "swinir", "edsr") for file in golden_files(f"keys/{kind}_*_x?.json")
]


@pytest.mark.parametrize("file", RECORDED_KEYS)
def test_every_recorded_official_key_belongs_to_its_network_and_landmarks_are_among_them(file):
    network = {"elan": ELAN, "swinir": SwinIR, "edsr": EDSR}[file.removeprefix("keys/").split("_")[0]]
    keys = load_golden(file).about
    assert [key for key in keys if not re.fullmatch(network.official_keys, key)] == []
    assert set(network.official_landmarks) <= keys.keys()


def test_a_mistyped_folder_of_recorded_outputs_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("golden_files.ROOT", tmp_path)
    for options in ({}, {"beyond_selection": True}):
        with pytest.raises(
            FileNotFoundError, match=r"no fixture matches elan/\*.npz .*SRLAB_GOLDEN must name"
        ):
            golden_files("elan/*.npz", **options)


def test_only_declared_patterns_may_lie_beyond_the_committed_selection(monkeypatch):
    monkeypatch.setattr("golden_files.ROOT", COMMITTED)
    assert golden_files("none/*.npz", beyond_selection=True) == []
    with pytest.raises(
        FileNotFoundError, match=r"no fixture matches none/\*.npz .*the selection in tests/gol"
    ):
        golden_files("none/*.npz")
