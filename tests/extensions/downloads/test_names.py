"""The catalogue, the verbs, and what the core says of them."""

import dataclasses
import hashlib
import io
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import srlab
from file_server import Served
from srlab.checkpoints import save_official
from srlab.data.known_sets import benchmark_images, div2k_images
from srlab.extensions.console.main import main
from srlab.extensions.downloads import catalogue, sets
from srlab.extensions.downloads.catalogue import data_sets, features, weights
from srlab.official_files import official_file

ARCHIVES = {archive.name: archive for each in data_sets().values() for archive in each.archives}
DAY_OR_NEVER = re.compile(r"never|\d{4}-\d\d-\d\d")


FILES = [*weights().values(), *features().values(), *ARCHIVES.values()]


@pytest.mark.parametrize("remote", FILES, ids=lambda remote: remote.name)
def test_every_address_is_https_and_has_its_source_terms_and_check(remote):
    assert remote.url.startswith("https://")
    assert remote.source
    assert remote.terms
    assert DAY_OR_NEVER.fullmatch(str(remote.checked))
    assert "/" not in remote.file
    assert remote.digest is None or re.fullmatch("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", remote.digest)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("elan_light_x4_friedricelab", "ELAN-light_LSR_x4_unofficial.pth"),
        ("hit_srf_x4", "NTIRE2025_team54_HITSR.pth"),
    ],
)
def test_sizes_and_checksums_are_those_of_the_real_files(name, file):
    if "SRLAB_WEIGHTS" not in os.environ:
        pytest.skip("needs real weights: set SRLAB_WEIGHTS")
    content = Path(os.environ["SRLAB_WEIGHTS"], file).read_bytes()
    assert weights()[name].size == len(content)
    assert weights()[name].digest == f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def offered(server, monkeypatch, tmp_path):
    """A small ELAN that stands in the catalogue as hit_srf_x4, and its network."""
    network = srlab.create_model("elan_demo", scale=2)
    save_official(network, tmp_path / "official.pth")
    content = (tmp_path / "official.pth").read_bytes()
    server.files["/w.pth"] = Served(content)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    entry = dataclasses.replace(
        weights()["hit_srf_x4"], url=f"{server.url}/w.pth", size=len(content), digest=digest
    )
    monkeypatch.setattr(catalogue, "_read", lambda: ({"hit_srf_x4": entry}, {}, {}))
    return network


def test_load_model_takes_the_name_of_downloaded_weights_and_downloads_nothing(server, offered, capsys):
    with pytest.raises(FileNotFoundError, match="download it with: srlab download hit_srf_x4"):
        srlab.load_model("hit_srf_x4")
    assert not server.requests
    assert main(["download", "hit_srf_x4"]) == 0
    assert "MIT" in capsys.readouterr().out
    loaded = srlab.load_model("hit_srf_x4")
    assert type(loaded) is type(offered)
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in offered.state_dict().items())


def test_upscale_takes_the_names_that_load_model_takes(server, offered, tmp_path, capsys):
    Image.new("RGB", (6, 5)).save(tmp_path / "photo.png")
    words = ["upscale", str(tmp_path / "photo.png"), "--device", "cpu", "--model"]
    assert main([*words, "hit_srf_x4"]) == 2
    assert "download it with: srlab download hit_srf_x4" in capsys.readouterr().err
    assert main(["download", "hit_srf_x4"]) == 0
    assert main([*words, "hit_srf_x4"]) == 0
    assert "network: ELAN x2 (hit_srf_x4)" in capsys.readouterr().out
    assert main([*words, "elan_tiny_x2", "--out", str(tmp_path / "shipped.png")]) == 0


def test_what_losses_and_metrics_read_goes_where_they_look_for_it(server, monkeypatch, tmp_path):
    """Oracle: the reader of VGG-19, which finds it afterwards."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    content = b"some weights"
    server.files["/vgg.pth"] = Served(content)
    entry = dataclasses.replace(features()["vgg19"], url=f"{server.url}/vgg.pth", size=len(content))
    monkeypatch.setattr(catalogue, "_read", lambda: ({}, {}, {"vgg19": entry}))
    digest = hashlib.sha256(content).hexdigest()
    asked = {"sha256": digest[:8], "url": entry.url, "needed_by": "a loss", "remedy": "choose another"}
    with pytest.raises(FileNotFoundError, match=r"a loss needs vgg19-dcbb9e9d.pth: download http"):
        official_file("vgg19-dcbb9e9d.pth", **asked)
    assert main(["download", "vgg19"]) == 0
    assert official_file("vgg19-dcbb9e9d.pth", **asked).read_bytes() == content
    with pytest.raises(FileNotFoundError):
        srlab.load_model("vgg19")  # no network


def test_clear_deletes_downloads(server, offered, capsys, tmp_path):
    main(["download", "hit_srf_x4"])
    assert main(["download", "--clear"]) == 0
    assert re.search(r"deleted 0\.\d MiB", capsys.readouterr().out)
    assert not [path for path in (tmp_path / "cache/downloads").iterdir() if path.suffix != ".lock"]


@pytest.mark.parametrize("words", [["download", "--list"], ["data", "list"]])
def test_lists_name_everything(words, capsys):
    assert main(words) == 0
    names = {**weights(), **features()} if words[0] == "download" else data_sets()
    printed = capsys.readouterr().out
    assert [name for name in names if f" {name} " not in printed] == []


def test_unknown_names_are_refused_before_anything_is_downloaded(server, capsys):
    assert main(["download", "hit_srf_x4", "elan_light_x4"]) == 2
    assert "choose from elan_light_x4_friedricelab, " in capsys.readouterr().err
    assert main(["data", "download", "div2k", "set6"]) == 2
    assert "choose from div2k, " in capsys.readouterr().err
    assert not server.requests


@pytest.fixture
def benchmark(server, monkeypatch):
    """A benchmark archive with the layout of the real one, and images of 6 by 6 pixels."""
    stream, counts = io.BytesIO(), {"Set5": 5, "Set14": 14, "B100": 100, "Urban100": 100}
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, count in counts.items():
            for number in range(count):
                for folder, suffix, side in (("HR", "", 6), ("LR_bicubic/X2", "x2", 3)):
                    png = io.BytesIO()
                    Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(png, "png")
                    info = tarfile.TarInfo(f"benchmark/{name}/{folder}/{number:03d}{suffix}.png")
                    info.size = png.tell()
                    archive.addfile(info, io.BytesIO(png.getvalue()))
    server.files["/benchmark.tar"] = Served(stream.getvalue())
    (real,) = data_sets()["set5"].archives
    archive = dataclasses.replace(real, url=f"{server.url}/benchmark.tar")
    named = {
        name: dataclasses.replace(each, archives=(archive,)) if real in each.archives else each
        for name, each in data_sets().items()
    }
    monkeypatch.setattr(sets, "data_sets", lambda: named)


def test_a_benchmark_arrives_where_data_reads_it_and_its_neighbours_with_it(
    server, benchmark, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("SRLAB_DATA", str(tmp_path / "data"))
    assert main(["data", "download", "set5", "Urban100"]) == 0
    for name, count in (("Set5", 5), ("Set14", 14), ("B100", 100), ("Urban100", 100)):
        assert len(benchmark_images(str(tmp_path / "data"), name).files) == count
    assert "is there already" in capsys.readouterr().out
    assert len(server.requests) == 1
    assert not (tmp_path / "cache/downloads/benchmark.tar").exists()
    assert main(["data", "download", "b100"]) == 0
    assert len(server.requests) == 1


def test_manga109_says_how_to_get_it(capsys, tmp_path):
    assert main(["data", "download", "manga109", "--to", str(tmp_path)]) == 2
    assert "http://www.manga109.org/en/" in capsys.readouterr().err


def test_each_set_of_the_catalogue_is_counted():
    assert sets.IMAGES.keys() == data_sets().keys()


def test_the_core_names_commands_that_exist(tmp_path):
    with pytest.raises(ValueError, match="srlab data download div2k") as raised:
        div2k_images(str(tmp_path), 1, 800)
    benchmark_remedy = benchmark_images(str(tmp_path), "Urban100").if_none_usable
    for text in (str(raised.value), benchmark_remedy):
        (name,) = re.findall(r"srlab data download (\w+)", text)
        assert name in data_sets()
