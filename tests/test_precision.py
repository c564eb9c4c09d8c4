"""benchmarks/precision.py says of each case which back end ran."""

import json
import sys

import pytest
import torch
from benchmarks import precision
from PIL import Image
from torch import nn
from torch.nn import functional as F

import srlab
from srlab.models.network import AttentionNetwork

RAN = []


class Choosy(AttentionNetwork):
    """Chooses by dtype and mode, and writes down what it ran."""

    def __init__(self):
        super().__init__(scale=2, backend="auto")
        self.gain = nn.Parameter(torch.ones(()))

    def automatic_backend(self, device, dtype):
        plain = dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        return "sdpa" if plain and not self.training and not torch.is_grad_enabled() else "reference"

    def restore(self, lr_image):
        RAN.append(self.backend_for(lr_image))
        return self.gain * F.interpolate(lr_image, scale_factor=2)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (16, 16, 3), generator=generator, dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(folder / "one.png")
    return folder


def cases(monkeypatch, capsys, network, images, *words):
    RAN.clear()
    monkeypatch.setattr(srlab, "load_model", lambda path: network)
    monkeypatch.setattr(sys, "argv", ["precision.py", "x", str(images), "--device", "cpu", *words])
    precision.main()
    return [each["backend"] for each in json.loads(capsys.readouterr().out)["cases"]]


def test_each_case_names_what_ran(images, monkeypatch, capsys):
    found = cases(monkeypatch, capsys, Choosy(), images)
    assert found == RAN
    assert found == ["sdpa", "reference", "reference", "reference", "reference"]


def test_a_back_end_can_be_chosen(images, monkeypatch, capsys):
    assert cases(monkeypatch, capsys, Choosy(), images, "--backend", "sdpa") == RAN == ["sdpa"] * 5
    with pytest.raises(ValueError, match="Choosy has no backend 'fast'"):
        cases(monkeypatch, capsys, Choosy(), images, "--backend", "fast")


def test_a_network_without_back_ends_names_none(images, monkeypatch, capsys):
    network = srlab.create_model("bicubic", scale=2)
    with pytest.raises(ValueError, match="Bicubic has no choice of back ends"):
        precision.choose_backend(network, "sdpa")
    assert precision.backend_of(network) is None
