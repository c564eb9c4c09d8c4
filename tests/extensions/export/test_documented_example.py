"""The example of docs/export.md runs where srlab is not installed."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from narrow_networks import narrow, require
from srlab.extensions.export.writing import export_network

PAGE = Path(__file__).parents[3] / "docs" / "export.md"


@pytest.mark.slow
def test_the_example_restores_an_image_with_onnxruntime_alone(tmp_path):
    require("onnx")
    network = narrow("elan_light")
    export_network(network, tmp_path / "elan_light_x4.onnx", to="onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (13, 21, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    example = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.M | re.S)[0]
    assert "srlab" not in example
    # a finder that refuses srlab and torch stands for an environment without them
    refuse = "import sys\nsys.modules['srlab'] = sys.modules['torch'] = None\n"
    subprocess.run([sys.executable, "-c", refuse + example], cwd=tmp_path, check=True, timeout=120)
    found = np.asarray(Image.open(tmp_path / "photo_x4.png")).astype(int)
    with torch.no_grad():
        expected = network(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255)
    expected = (expected.clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy().astype(int)
    assert abs(found - expected).max() <= 1  # a value halfway may round either way
