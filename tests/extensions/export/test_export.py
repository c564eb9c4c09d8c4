"""Exported files are the network, say what they hold, and are not left if they are something else."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from torch import nn

import srlab
from narrow_networks import NARROW, narrow, require
from srlab.extensions.export.formats import Format, find_format
from srlab.extensions.export.gate import LARGEST_DIFFERENCE, LARGEST_LOSS_DB, measure_parity
from srlab.extensions.export.graphs import inference_copy
from srlab.extensions.export.writing import export_network

slow = pytest.mark.slow
FORMATS = ("onnx", "openvino", "pt2")
QUICK = {("edsr_baseline", "onnx"), ("elan_light", "onnx")}
CASES = [
    pytest.param(name, form, marks=[] if (name, form) in QUICK else slow)
    for form in FORMATS
    for name in NARROW
]


def size_of(name, form):
    """HiT-SR's blocks pad their maps, which torch.export takes at one size only."""
    return (21, 18) if (name, form) == ("hit_srf", "pt2") else None


@pytest.mark.parametrize(("name", "form"), CASES)
def test_a_float32_file_is_the_network_at_every_size(name, form, tmp_path):
    require(form)
    path = tmp_path / f"file{find_format(form).suffix}"
    network, size = narrow(name), size_of(name, form)
    exported = export_network(network, path, to=form, lr_size=size)
    assert exported.parity.difference < 1e-5
    assert len(exported.parity.sizes) == (5 if size is None else 1)
    # a size that neither the exporter nor the gate has seen, by the published operators
    lr_image = torch.rand(1, 3, *(size or (11, 26)))
    found = find_format(form).open(path)(lr_image.numpy())
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), network(lr_image), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "form"), CASES)
def test_a_float16_file_loses_at_most_a_hundredth_of_a_decibel(name, form, tmp_path):
    require(form)
    path = tmp_path / f"file{find_format(form).suffix}"
    network = narrow(name)
    if (name, form) == ("hit_srf", "pt2"):
        with pytest.raises(ValueError, match="pt2 file in float16: the correlation reaches 1e14"):
            export_network(network, path, to=form, dtype="float16", lr_size=size_of(name, form))
        return
    exported = export_network(network, path, to=form, dtype="float16")
    assert exported.parity.loss_db <= LARGEST_LOSS_DB
    assert exported.parity.difference > 0
    assert exported.metadata["float32_operators"]


@slow
def test_a_float16_file_of_the_published_hit_srf_restores_a_photograph_as_well(real_images, tmp_path):
    """Its correlation reaches 1e14. The photograph is none of the gate's; PSNR is scikit-image's."""
    require("onnx")
    weights = os.environ.get("SRLAB_WEIGHTS")
    if weights is None:
        pytest.skip("needs the published HiT-SRF x4: set SRLAB_WEIGHTS")
    network = srlab.load_model(Path(weights) / "NTIRE2025_team54_HITSR.pth")
    export_network(network, tmp_path / "file.onnx", to="onnx", dtype="float16", lr_size=(32, 40))
    set5 = real_images / "benchmark/Set5"
    low, high = (np.asarray(Image.open(set5 / name)) for name in ("LR_bicubic/X4/birdx4.png", "HR/bird.png"))
    lr_image = (low[:32, :40] / np.float32(255)).transpose(2, 0, 1)[None]
    with torch.no_grad():
        expected = network(torch.from_numpy(lr_image)).numpy()
    found = find_format("onnx").open(tmp_path / "file.onnx")(lr_image)
    hr_image = high[:128, :160] / 255
    before, after = (
        peak_signal_noise_ratio(hr_image, pixels[0].transpose(1, 2, 0).clip(0, 1).astype(float), data_range=1)
        for pixels in (expected, found)
    )
    assert before > 25
    assert after > before - LARGEST_LOSS_DB


@pytest.mark.parametrize("form", ["onnx", *(pytest.param(each, marks=slow) for each in FORMATS[1:])])
def test_metadata_are_in_the_file(form, tmp_path):
    require(form)
    path = tmp_path / f"file{find_format(form).suffix}"
    exported = export_network(narrow("edsr_baseline"), path, to=form, source={"source_sha256": "abc"})
    found = find_format(form).metadata(path)
    assert found == exported.metadata
    assert found["network"] == "EDSR"
    assert found["scale"] == "2"
    assert found["source_sha256"] == "abc"
    assert json.loads(found["parity"])["difference"] == exported.parity.difference
    assert json.loads(found["versions"])["torch"] == torch.__version__


class Faulty(Format):
    """An ONNX format whose weights are changed."""

    def __init__(self, change):
        self.inner, self.change = find_format("onnx"), change
        self.name, self.suffix, self.packages = self.inner.name, self.inner.suffix, self.inner.packages

    def convert(self, network, **options):
        with torch.no_grad():
            self.change([each for each in network.modules() if isinstance(each, nn.Conv2d)][-1])
        return self.inner.convert(network, **options)

    def save(self, content, path, metadata):
        self.inner.save(content, path, metadata)

    def open(self, path, threads=None):
        return self.inner.open(path, threads)

    def metadata(self, path):
        return self.inner.metadata(path)


@pytest.mark.parametrize(
    ("change", "dtype"),
    [
        (lambda conv: conv.bias.add_(100), "float32"),
        (lambda conv: conv.bias.mul_(math.nan), "float32"),
        (lambda conv: conv.bias.add_(100), "float16"),
        (lambda conv: conv.bias.mul_(math.nan), "float16"),
    ],
    ids=["shifted", "not a number", "shifted in float16", "not a number in float16"],
)
def test_a_file_that_is_not_the_network_is_refused_with_its_numbers(change, dtype, tmp_path, monkeypatch):
    require("onnx")
    monkeypatch.setattr("srlab.extensions.export.writing.find_format", lambda _name: Faulty(change))
    with pytest.raises(ValueError, match=r"largest difference .* PSNR loss .* dB, allowed .*by size"):
        export_network(narrow("edsr_baseline"), tmp_path / "file.onnx", to="onnx", dtype=dtype)
    assert list(tmp_path.iterdir()) == []


def test_the_gate_measures_the_largest_difference_and_the_loss_that_were_made():
    network = narrow("edsr_baseline")
    offset = 0.03

    def run(pixels):
        with torch.no_grad():
            return (network(torch.from_numpy(pixels)) + offset).numpy()

    parity = measure_parity(network, run, lr_size=None)
    assert parity.difference == pytest.approx(offset, rel=1e-5)
    assert len(parity.by_size) == 5
    same = measure_parity(network, lambda pixels: run(pixels) - offset, lr_size=(9, 7))
    assert same.difference < LARGEST_DIFFERENCE
    assert same.loss_db == pytest.approx(0, abs=1e-4)
    assert same.sizes == ("1x9x7",)


def test_constants_of_position_are_computed_once_and_change_nothing():
    network = narrow("swinir_light")
    lr_image = torch.rand(2, 3, 9, 14)
    with torch.no_grad():
        torch.testing.assert_close(inference_copy(network)(lr_image), network(lr_image), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "form", "message"),
    [
        ("esc_light", "onnx", r"ESC\w* cannot be written as onnx: its convolutions with predicted kernels"),
        ("esc_light", "openvino", "cannot be written as openvino"),
        ("hit_srf", "pt2", "HiTSR cannot be written as pt2 of any size: its blocks pad their maps"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_name(name, form, message, tmp_path):
    path = tmp_path / f"file{find_format(form).suffix}"
    with pytest.raises(ValueError, match=message):
        export_network(narrow(name), path, to=form)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_answered_with_the_extra(monkeypatch, tmp_path):
    monkeypatch.setattr("srlab.extensions.optional_packages.find_spec", lambda _name: None)
    with pytest.raises(ValueError, match=r'needs onnx and onnxruntime.*pip install -e "\.\[export\]"'):
        export_network(narrow("edsr_baseline"), tmp_path / "file.onnx", to="onnx")


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("file.pt", {"to": "onnx"}, r"must end in \.onnx"),
        ("file.onnx", {"to": "tflite"}, "unknown format 'tflite'; choose one of onnx, openvino, pt2"),
        ("file.onnx", {"to": "onnx", "dtype": "bfloat16"}, "float32 or float16"),
    ],
)
def test_wrong_arguments_are_named(path, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_network(narrow("edsr_baseline"), tmp_path / path, **options)
