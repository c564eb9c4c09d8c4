"""Files of the networks whose attention sees the whole image."""

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
    [("han", "onnx", None), ("han", "pt2", None), ("nlsn", "pt2", (21, 18)), ("catanet", "pt2", (21, 18))],
)
def test_the_file_is_the_network_at_every_size_it_takes(name, form, size, tmp_path):
    require(form)
    exported = export_network(prepared(name), tmp_path / f"file.{form}", to=form, lr_size=size)
    assert exported.parity.difference < 1e-5


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("onnx", "NLSN cannot be written as onnx: buckets are sorted stably"),
        ("pt2", "NLSN cannot be written as pt2 of any size: the number of buckets depends on the image"),
    ],
)
def test_what_the_hash_forbids_is_refused_by_name(form, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_network(prepared("nlsn"), tmp_path / f"file.{form}", to=form)
