import hashlib

import numpy as np
import pytest
import torch
from torch import nn

from protocols import published_y, rgb
from srlab.metrics import lpips
from srlab.metrics.registry import find_metric, ready_metrics
from srlab.metrics.scoring import score, score_bicubic

WIDTHS = (64, 192, 384, 256, 256)


@pytest.fixture(scope="module")
def weights():
    """Random ones in the layout of the official files."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((0, 3, 11), (3, 64, 5), (6, 192, 3), (8, 384, 3), (10, 256, 3))
    tensors = {}
    for width, (layer, inputs, kernel) in zip(WIDTHS, shapes, strict=True):
        scale = (inputs * kernel**2) ** -0.5
        tensors[f"features.{layer}.weight"] = scale * torch.randn(
            width, inputs, kernel, kernel, generator=generator
        )
        tensors[f"features.{layer}.bias"] = 0.1 * torch.randn(width, generator=generator)
    for number, width in enumerate(WIDTHS):
        tensors[f"lin{number}.model.1.weight"] = torch.rand(1, width, 1, 1, generator=generator)
    return tensors


def distance_of_the_paper(a, b, weights):
    """Independent float64 version: AlexNet of torch.nn's modules, the rest in numpy."""
    layers = nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    ).double()  # fmt: skip
    layers.load_state_dict({key[9:]: value for key, value in weights.items() if key.startswith("features.")})

    def maps(image):
        mean, deviation = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
        x = torch.from_numpy((image - mean[:, None, None]) / deviation[:, None, None])[None]
        found = []
        for layer in layers:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found.append(x[0].detach().numpy())
        return found

    total = 0.0
    for number, (first, second) in enumerate(zip(maps(a), maps(b), strict=True)):
        first, second = (each / np.linalg.norm(each, axis=0) for each in (first, second))
        channels = weights[f"lin{number}.model.1.weight"].numpy().ravel()
        total += np.mean(np.einsum("c,chw->hw", channels, (first - second) ** 2))
    return total


@pytest.fixture
def weights_file(tmp_path, monkeypatch, weights):
    """AlexNet of random weights, whose check sum is taken for the official one's."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    lpips._weights_on.cache_clear()
    path = tmp_path / "checkpoints/alexnet-owt-7be5be79.pth"
    path.parent.mkdir()
    alexnet = {key: value for key, value in weights.items() if key.startswith("features.")}
    torch.save({**alexnet, "classifier.1.bias": torch.zeros(2)}, path)
    monkeypatch.setattr(lpips, "_SHA256", hashlib.sha256(path.read_bytes()).hexdigest()[:8])
    yield path
    lpips._weights_on.cache_clear()


def test_the_distance_equals_the_papers(weights):
    a, b = (
        torch.rand(2, 2, 3, 64, 79, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    )
    doubled = {key: value.double() for key, value in weights.items()}
    expected = [distance_of_the_paper(x.numpy(), y.numpy(), weights) for x, y in zip(a, b, strict=True)]
    assert lpips.lpips_distance(a, b, doubled).tolist() == pytest.approx(expected, rel=1e-9)


def test_rgb_is_compared_under_every_protocol_and_gray_references_are_replicated(weights_file):
    generator = torch.Generator().manual_seed(2)
    hr_image = torch.randint(0, 256, (1, 40, 50), dtype=torch.uint8, generator=generator)
    sr_image = torch.rand(3, 40, 50, generator=generator)
    result = score(sr_image, hr_image, rgb(4), ["lpips", "psnr"])
    pair = [
        image[:, 4:-4, 4:-4].double().numpy() / 255 * 2 - 1
        for image in ((sr_image * 255).round(), hr_image.expand(3, -1, -1))
    ]
    assert list(result) == ["lpips", "psnr"]
    assert result["lpips"].item() == pytest.approx(
        distance_of_the_paper(*pair, lpips.read_weights()), rel=1e-4
    )
    assert score(hr_image.expand(3, -1, -1) / 255, hr_image, rgb(4), ["lpips"])["lpips"] == 0


def test_bicubic_luma_has_no_rgb_to_compare():
    image = torch.zeros(3, 60, 60, dtype=torch.uint8)
    with pytest.raises(ValueError, match="metric lpips compares RGB, and protocol 'published_y' restores"):
        score_bicubic(image, scale=2, protocol=published_y(2), metrics=["lpips"])


def test_the_smallest_image_has_features(weights_file):
    side = find_metric("lpips").least_side
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    assert find_metric("lpips")(image, 1 - image, peak=1.0).item() > 0


def test_a_missing_or_other_file_is_named_with_its_source(weights_file):
    weights_file.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"pth is not the official file: its SHA-256 begins"):
        ready_metrics(["lpips"])
    weights_file.unlink()
    message = r"metric lpips needs alexnet-owt-7be5be79.pth: download https://.* into .*TORCH_HOME"
    with pytest.raises(FileNotFoundError, match=message):
        ready_metrics(["lpips"])
