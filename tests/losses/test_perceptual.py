import pytest
import torch
import torch.nn.functional as F
from torch import nn

from srlab.losses.l1 import L1Loss
from srlab.losses.perceptual import PerceptualLoss, Vgg19Features, convolution_names
from srlab.losses.sharpened import SharpenedReference
from srlab.losses.total import TotalLoss
from srlab.ops.sharpen import unsharp_mask
from vgg_weights import CONVOLUTIONS, random_vgg19, write_random_vgg19

# Configuration E as its table has it: numbers of channels, M for pooling.
TABLE = (
    *("64", "64", "M", "128", "128", "M", "256", "256", "256", "256", "M"),
    *("512", "512", "512", "512", "M", "512", "512", "512", "512"),
)
LAYERS = {"conv1_2": 0.1, "conv2_2": 0.5, "conv3_1": 2.0}


def modules():
    """VGG-19 of torch.nn's modules, numbered as torchvision does."""
    layers, inputs = [], 3
    for word in TABLE:
        if word == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(inputs, int(word), 3, padding=1), nn.ReLU()]
            inputs = int(word)
    return layers


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file up to conv3_1, and its check sum."""
    path = tmp_path_factory.mktemp("vgg") / "vgg.pth"
    return {"file": str(path), "sha256": write_random_vgg19(path, last=10)}


@pytest.fixture
def images():
    return torch.rand(2, 2, 3, 24, 33, generator=torch.Generator().manual_seed(1)).unbind(0)


def test_layers_have_torchvisions_numbers():
    """Oracle: the table of the paper, with a ReLU after each convolution."""
    numbers = [number for number, layer in enumerate(modules()) if isinstance(layer, nn.Conv2d)]
    assert list(convolution_names().values()) == numbers == [number for *_, number in CONVOLUTIONS]
    assert list(convolution_names())[-1] == "conv5_4"
    assert convolution_names()["conv3_4"] == 16


def test_features_are_those_of_torchs_modules_before_the_relu(weights, images):
    network = nn.Sequential(*modules()[:11])
    network.load_state_dict({key[9:]: value for key, value in random_vgg19(last=10).items()})
    x = (images[0] - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    found = Vgg19Features(**weights, layers=["conv1_2", "conv3_1"])(images[0])
    torch.testing.assert_close(found["conv1_2"], network[:3](x))
    torch.testing.assert_close(found["conv3_1"], network(x))


def test_the_loss_is_the_weighted_sum_of_absolute_differences(weights, images):
    features = Vgg19Features(**weights, layers=list(LAYERS))
    first, second = features(images[0]), features(images[1])
    expected = sum(weight * F.l1_loss(first[name], second[name]) for name, weight in LAYERS.items())
    loss = PerceptualLoss(**weights, layers=LAYERS)
    torch.testing.assert_close(loss(*images), expected)
    assert loss(images[0], images[0]) == 0


def test_weights_are_frozen_and_in_no_checkpoint(weights, images):
    loss = PerceptualLoss(**weights, layers=LAYERS)
    assert not loss.state_dict()
    assert not list(loss.parameters())
    sr_image = images[0].clone().requires_grad_()
    loss(sr_image, images[1]).backward()
    assert sr_image.grad.abs().sum() > 0


def test_a_missing_file_another_file_and_unknown_layers_are_named(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    official = {"file": "vgg19-dcbb9e9d.pth", "sha256": "dcbb9e9d"}
    message = r"the perceptual loss needs vgg19-dcbb9e9d.pth: download https://.*TORCH_HOME.*download vgg19"
    with pytest.raises(FileNotFoundError, match=message):
        PerceptualLoss(**official, layers=LAYERS)
    with pytest.raises(ValueError, match=r"not the official file: its SHA-256 begins with .*, not dcbb9e9d"):
        PerceptualLoss(file=weights["file"], sha256="dcbb9e9d", layers=LAYERS)
    with pytest.raises(ValueError, match=r"layers of VGG-19 are conv1_1, .*, got conv3_5"):
        PerceptualLoss(**weights, layers={"conv3_5": 1.0})


def test_sums_and_sharpened_references_are_what_they_say(images):
    terms = {"one": L1Loss(value_range=1.0), "other": L1Loss(value_range=3.0)}
    expected = 4 * F.l1_loss(images[0], images[1])
    torch.testing.assert_close(TotalLoss(terms=terms)(*images), expected)
    sr_image, hr_image = (F.interpolate(image, (40, 40)) for image in images)
    expected = F.l1_loss(sr_image, unsharp_mask(hr_image))
    torch.testing.assert_close(SharpenedReference(loss=terms["one"])(sr_image, hr_image), expected)
    assert not torch.isclose(expected, F.l1_loss(sr_image, hr_image))
    with pytest.raises(ValueError, match="at least one loss, got none"):
        TotalLoss(terms={})
