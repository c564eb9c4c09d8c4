"""Files of the networks whose attention sorts, hands on, or sees the whole image, or whose gates do."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import srlab
from narrow_networks import require
from preset_cases import narrowed
from srlab.extensions.export.formats import find_format
from srlab.extensions.export.writing import export_network
from srlab.models.network import Network


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
        ("echosr", "pt2", (21, 18)),
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
        ("nlsn", "openvino", "NLSN cannot be written as openvino: buckets are sorted stably"),
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
        (
            "echosr",
            "onnx",
            "EchoSR cannot be written as onnx: .* cannot pool into a computed number of cells",
        ),
        ("echosr", "openvino", "EchoSR cannot be written as openvino: .* cannot pool"),
        ("echosr", "pt2", "EchoSR cannot be written as pt2 of any size: the number of pooling cells depends"),
    ],
)
def test_what_cannot_be_held_is_refused_by_name(name, form, message, tmp_path):
    path = tmp_path / f"file{find_format(form).suffix}"
    with torch.device("meta"):  # refused before anything is computed
        network = srlab.create_model(name, scale=2, **narrowed(name))
    with pytest.raises(ValueError, match=message):
        export_network(network, path, to=form)


class Undeclared(Network):
    """Decides by the size of the image, and does not say so."""

    def __init__(self):
        super().__init__(scale=1)
        self.gain = nn.Parameter(torch.ones(()))

    def restore(self, lr_image):
        cells = functional.adaptive_max_pool2d(lr_image, [max(1, side // 8) for side in lr_image.shape[-2:]])
        return lr_image + self.gain * cells.mean((-2, -1), keepdim=True)


@pytest.mark.slow  # exports
def test_a_size_that_torch_export_cannot_leave_open_is_one_message_with_the_remedy(tmp_path):
    with pytest.raises(ValueError, match=r"Undeclared cannot be written as pt2: .*; give one --size"):
        export_network(Undeclared(), tmp_path / "file.pt2", to="pt2")
    exported = export_network(Undeclared(), tmp_path / "file.pt2", to="pt2", lr_size=(21, 18))
    assert exported.parity.difference < 1e-5
