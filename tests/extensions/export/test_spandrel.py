"""spandrel, which other programs load super-resolvers with, reads the official files that srlab writes."""

import pytest
import torch

from narrow_networks import narrow
from srlab.checkpoints import save_official


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swinir_light", "swinir"])
def test_spandrel_loads_official_files_of_swinir(name, tmp_path):
    spandrel = pytest.importorskip("spandrel", reason="needs spandrel, which wants torchvision")
    network = narrow(name, scale=4, depths=[2, 2], num_heads=[2, 2], dim=24)
    save_official(network, tmp_path / "swinir.pth")
    loaded = spandrel.ModelLoader(device="cpu").load_from_file(tmp_path / "swinir.pth")
    lr_image = torch.rand(1, 3, 24, 32)
    with torch.no_grad():
        expected = network(lr_image).clamp(0, 1)  # spandrel clamps
        torch.testing.assert_close(loaded(lr_image), expected, rtol=0, atol=1e-5)
    assert loaded.scale == 4
