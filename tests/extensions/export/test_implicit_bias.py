"""Files of the networks with an implicit position bias."""

import pytest
import torch

import srlab
from narrow_networks import require
from preset_cases import narrowed
from srlab.extensions.export.writing import export_network


def prepared(name):
    torch.manual_seed(0)
    return srlab.create_model(name, scale=2, **narrowed(name)).eval()


@pytest.mark.slow  # exports
@pytest.mark.parametrize(
    ("name", "form", "size"),
    [("sst_light", "onnx", None), ("sst_light", "pt2", (21, 18)), ("esc_rib", "pt2", (21, 18))],
)
def test_the_file_is_the_network_at_every_size_it_takes(name, form, size, tmp_path):
    require(form)
    exported = export_network(prepared(name), tmp_path / f"file.{form}", to=form, lr_size=size)
    assert exported.parity.difference < 1e-5


@pytest.mark.parametrize("name", ["sst_light", "esc_rib"])
def test_padding_inside_rules_out_files_of_any_size(name, tmp_path):
    with pytest.raises(ValueError, match=r"cannot be written as pt2 of any size: its blocks pad"):
        export_network(prepared(name), tmp_path / "file.pt2", to="pt2")
