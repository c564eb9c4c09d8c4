"""Files of the networks whose attention sorts, hands on, or sees the whole image."""

import pytest
import torch

import srlab
from narrow_networks import require
from preset_cases import narrowed
from srlab.extensions.export.writing import export_network


def prepared(name):
    torch.manual_seed(0)
    network = srlab.create_model(name, scale=2, **narrowed(name)).eval()
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            if key.endswith("gamma"):
                parameter.fill_(0.5)
    return network


@pytest.mark.slow  # exports
@pytest.mark.parametrize(
    ("name", "form", "size"),
    [
        ("han", "onnx", None),
        ("han", "pt2", None),
        ("nlsn", "pt2", (21, 18)),
        ("catanet", "pt2", (21, 18)),
        ("atd_light", "pt2", (21, 18)),
        ("pft_light", "onnx", None),
        ("pft_light", "pt2", (21, 18)),
    ],
)
def test_the_file_is_the_network_at_every_size_it_takes(name, form, size, tmp_path):
    require(form)
    exported = export_network(prepared(name), tmp_path / f"file.{form}", to=form, lr_size=size)
    assert exported.parity.difference < 1e-5


@pytest.mark.parametrize(
    ("name", "form", "message"),
    [
        ("nlsn", "onnx", "NLSN cannot be written as onnx: buckets are sorted stably"),
        (
            "nlsn",
            "pt2",
            "NLSN cannot be written as pt2 of any size: the number of buckets depends on the image",
        ),
        ("atd_light", "onnx", "ATD cannot be written as onnx: tokens are sorted stably"),
        ("catanet", "onnx", "CATANet cannot be written as onnx: tokens are sorted stably"),
        (
            "pft_light",
            "pt2",
            "PFT cannot be written as pt2 of any size: it pads images by their mirror image",
        ),
    ],
)
def test_what_cannot_be_written_is_refused_by_name(name, form, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_network(prepared(name), tmp_path / f"file.{form}", to=form)
