"""Other code bases' names for the same networks: read, and the same function as their own forward."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch.testing import assert_close

import srlab
from checkpoint_samples import assert_same_function
from srlab.app.initial_weights import start_from
from srlab.checkpoints import load_model, official_state, read_checkpoint, save_official
from srlab.checkpoints.layouts import known_layouts, official_layout
from srlab.models.atd import ATD
from srlab.models.pft import PFT

DIV2K, DF2K = (0.4488, 0.4371, 0.4040), (0.4690, 0.4490, 0.4036)


def seeded(shapes):
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(shape, generator=generator) * 0.1 for key, shape in shapes.items()}


def convolution(name, out, into, side=3):
    return {f"{name}.weight": (out, into, side, side), f"{name}.bias": (out,)}


def mean_shifts(mean):
    offset = 255 * torch.tensor(mean)
    eye = torch.eye(3).view(3, 3, 1, 1)
    return {
        "sub_mean.weight": eye,
        "sub_mean.bias": -offset,
        "add_mean.weight": eye.clone(),
        "add_mean.bias": offset,
    }


def conv(state, name, image):
    weight = state[f"{name}.weight"]
    return F.conv2d(image, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)


def upsampled(state, prefix, features, scale):
    for index in range(1 if scale == 3 else scale // 2):
        features = F.pixel_shuffle(conv(state, prefix(index), features), 3 if scale == 3 else 2)
    return features


def edsr_pytorch(scale, mean=DIV2K, depth=2, dim=6):
    """Names, shapes and forward of EDSR-PyTorch: RGB in 0..255."""
    shapes = convolution("head.0", dim, 3) | convolution(f"body.{depth}", dim, dim)
    for block in range(depth):
        shapes |= convolution(f"body.{block}.body.0", dim, dim) | convolution(
            f"body.{block}.body.2", dim, dim
        )
    for index in range(1 if scale == 3 else scale // 2):
        shapes |= convolution(f"tail.0.{2 * index}", (9 if scale == 3 else 4) * dim, dim)
    state = seeded(shapes | convolution("tail.1", 3, dim)) | mean_shifts(mean)

    def forward(image):
        shallow = conv(state, "head.0", conv(state, "sub_mean", 255 * image))
        features = shallow
        for block in range(depth):
            hidden = F.relu(conv(state, f"body.{block}.body.0", features))
            features = features + conv(state, f"body.{block}.body.2", hidden)
        features = conv(state, f"body.{depth}", features) + shallow
        features = upsampled(state, lambda index: f"tail.0.{2 * index}", features, scale)
        return conv(state, "add_mean", conv(state, "tail.1", features)) / 255

    return state, forward


def rcan(scale, mean=DIV2K, groups=2, blocks=2, dim=8, hidden=2):
    """Names, shapes and forward of the authors' RCAN: RGB in 0..255."""
    shapes = convolution("head.0", dim, 3) | convolution(f"body.{groups}", dim, dim)
    for group in range(groups):
        shapes |= convolution(f"body.{group}.body.{blocks}", dim, dim)
        for block in range(blocks):
            name = f"body.{group}.body.{block}.body"
            shapes |= convolution(f"{name}.0", dim, dim) | convolution(f"{name}.2", dim, dim)
            shapes |= convolution(f"{name}.3.conv_du.0", hidden, dim, 1)
            shapes |= convolution(f"{name}.3.conv_du.2", dim, hidden, 1)
    for index in range(1 if scale == 3 else scale // 2):
        shapes |= convolution(f"tail.0.{2 * index}", (9 if scale == 3 else 4) * dim, dim)
    state = seeded(shapes | convolution("tail.1", 3, dim)) | mean_shifts(mean)

    def forward(image):
        shallow = conv(state, "head.0", conv(state, "sub_mean", 255 * image))
        features = shallow
        for group in range(groups):
            start = features
            for block in range(blocks):
                name = f"body.{group}.body.{block}.body"
                hidden_map = conv(state, f"{name}.2", F.relu(conv(state, f"{name}.0", features)))
                squeezed = F.relu(conv(state, f"{name}.3.conv_du.0", hidden_map.mean((2, 3), keepdim=True)))
                features = features + hidden_map * torch.sigmoid(conv(state, f"{name}.3.conv_du.2", squeezed))
            features = conv(state, f"body.{group}.body.{blocks}", features) + start
        features = conv(state, f"body.{groups}", features) + shallow
        features = upsampled(state, lambda index: f"tail.0.{2 * index}", features, scale)
        return conv(state, "add_mean", conv(state, "tail.1", features)) / 255

    return state, forward


def mmagic_edsr(scale, depth=2, dim=6):
    """Names, shapes and forward of MMagic's EDSRNet: RGB in [0, 1]."""
    shapes = convolution("conv_first", dim, 3) | convolution("conv_after_body", dim, dim)
    for block in range(depth):
        shapes |= convolution(f"body.{block}.conv1", dim, dim) | convolution(f"body.{block}.conv2", dim, dim)
    for index in range(1 if scale == 3 else scale // 2):
        shapes |= convolution(f"upsample.{index}.upsample_conv", (9 if scale == 3 else 4) * dim, dim)
    state = seeded(shapes | convolution("conv_last", 3, dim))

    def forward(image):
        mean = torch.tensor(DIV2K).view(3, 1, 1)
        shallow = conv(state, "conv_first", image - mean)
        features = shallow
        for block in range(depth):
            hidden = F.relu(conv(state, f"body.{block}.conv1", features))
            features = features + conv(state, f"body.{block}.conv2", hidden)
        features = conv(state, "conv_after_body", features) + shallow
        features = upsampled(state, lambda index: f"upsample.{index}.upsample_conv", features, scale)
        return conv(state, "conv_last", features) + mean

    return {f"generator.{key}": value for key, value in state.items()}, forward


def mmsr_msrresnet(scale, depth=2, dim=6):
    """Names, shapes and forward of mmsr's MSRResNet, which is KAIR's MSRResNet1."""
    shapes = convolution("conv_first", dim, 3) | convolution("HRconv", dim, dim)
    for block in range(depth):
        name = f"recon_trunk.{block}"
        shapes |= convolution(f"{name}.conv1", dim, dim) | convolution(f"{name}.conv2", dim, dim)
    for index in range(2 if scale == 4 else 1):
        shapes |= convolution(f"upconv{index + 1}", (9 if scale == 3 else 4) * dim, dim)
    state = seeded(shapes | convolution("conv_last", 3, dim))

    def forward(image):
        features = F.leaky_relu(conv(state, "conv_first", image), 0.1)
        for block in range(depth):
            hidden = F.relu(conv(state, f"recon_trunk.{block}.conv1", features))
            features = features + conv(state, f"recon_trunk.{block}.conv2", hidden)
        for index in range(2 if scale == 4 else 1):
            larger = F.pixel_shuffle(conv(state, f"upconv{index + 1}", features), 3 if scale == 3 else 2)
            features = F.leaky_relu(larger, 0.1)
        detail = conv(state, "conv_last", F.leaky_relu(conv(state, "HRconv", features), 0.1))
        return detail + F.interpolate(image, scale_factor=scale, mode="bilinear", align_corners=False)

    return state, forward


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(
    ("make", "source"),
    [
        (edsr_pytorch, "EDSR-PyTorch's EDSR"),
        (rcan, "the authors' RCAN"),
        (mmagic_edsr, "MMagic's EDSR"),
        (mmsr_msrresnet, "mmsr's and KAIR's MSRResNet"),
    ],
)
def test_other_layouts_compute_what_their_own_code_does(make, source, scale, tmp_path):
    state, forward = make(scale)
    torch.save(state, tmp_path / "theirs.pth")
    network, description = read_checkpoint(tmp_path / "theirs.pth")
    assert description["source"] == source
    assert network.scale == scale
    image = torch.rand(1, 3, 9, 8)
    with torch.no_grad():
        assert_close(network(image), forward(image), rtol=0, atol=2e-6 * 10)


@pytest.mark.parametrize("make", [edsr_pytorch, rcan])
@pytest.mark.parametrize("mean", [DIV2K, DF2K, (0.3, 0.2, 0.1)])
def test_a_stored_mean_is_read(make, mean, tmp_path):
    state, forward = make(2, mean)
    torch.save(state, tmp_path / "theirs.pth")
    network, description = read_checkpoint(tmp_path / "theirs.pth")
    assert description["model"]["mean"] == pytest.approx(mean, abs=1e-7)
    assert description["model"]["value_range"] == 255.0
    image = torch.rand(1, 3, 9, 8)
    with torch.no_grad():
        assert_close(network(image), forward(image), rtol=0, atol=2e-5)


@pytest.mark.parametrize("make", [edsr_pytorch, rcan])
def test_mean_shifts_that_training_moved_become_part_of_the_convolutions(make, tmp_path):
    state, forward = make(2)
    generator = torch.Generator().manual_seed(1)
    for key in [key for key in state if "_mean." in key]:
        state[key] += 0.05 * state[key].abs().max() * torch.randn(state[key].shape, generator=generator)
    torch.save(state, tmp_path / "theirs.pth")
    image = torch.rand(1, 3, 9, 8)
    with torch.no_grad():
        expected = forward(image)
        assert_close(load_model(tmp_path / "theirs.pth")(image), expected, rtol=0, atol=2e-5)


def test_a_converted_file_of_another_layout_is_the_same_network_in_ours(tmp_path):
    state, _ = edsr_pytorch(4)
    torch.save(state, tmp_path / "theirs.pth")
    network = load_model(tmp_path / "theirs.pth")
    save_official(network, tmp_path / "basicsr.pth")
    assert_same_function(load_model(tmp_path / "basicsr.pth"), network)


def test_what_a_file_of_another_layout_lacks_is_named_in_its_own_words(tmp_path):
    state, _ = edsr_pytorch(2)
    del state["body.1.body.2.bias"]
    torch.save({**state, "body.0.body.1.weight": torch.ones(6)}, tmp_path / "theirs.pth")
    message = r"does not fit EDSR: 1 missing: body.1.body.2.bias; 1 unexpected: body.0.body.1.weight$"
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path / "theirs.pth")
    state, _ = edsr_pytorch(2)
    torch.save({**state, "body.9.weight": state["body.2.weight"]}, tmp_path / "two.pth")
    with pytest.raises(ValueError, match=r"has both body.2.weight and body.9.weight for one tensor"):
        load_model(tmp_path / "two.pth")
    del state["body.2.weight"]
    torch.save(state, tmp_path / "none.pth")
    with pytest.raises(ValueError, match=r"looks like EDSR-PyTorch's EDSR, but lacks body.N.weight$"):
        load_model(tmp_path / "none.pth")


def test_no_two_layouts_have_the_same_landmarks():
    landmarks = [set(layout.landmarks) for layout in known_layouts()]
    for index, marks in enumerate(landmarks):
        assert not any(marks <= other for other in landmarks[:index] + landmarks[index + 1 :])


def fried_rice(state):
    """The authors' ELAN keys in FriedRiceLab's names, written out by hand."""
    renamed = {}
    for key, value in state.items():
        for official, theirs in (
            ("head.0.", "head."), (".lfe_", "."), (".gmsa_", "."),
            (".conv0.shift_conv.conv1x1.", ".lfe.0."), (".conv0.shift_conv.weight", ".lfe.0.mask"),
            (".conv1.shift_conv.conv1x1.", ".lfe.2."), (".conv1.shift_conv.weight", ".lfe.2.mask"),
        ):  # fmt: skip
            key = key.replace(official, theirs)
        renamed[key] = value
    return renamed


def test_elan_in_the_layout_of_fried_rice_lab(elan, tmp_path):
    torch.save({"params": fried_rice(official_state(elan))}, tmp_path / "frl.pth")
    assert_same_function(load_model(tmp_path / "frl.pth", window_sizes=[2, 4]), elan)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("upcast", [False, True])
def test_elan_in_any_precision_is_the_network_of_these_weights(elan, dtype, upcast, tmp_path):
    state = {
        key: value.to(dtype) if value.is_floating_point() else value
        for key, value in official_state(elan).items()
    }
    if upcast:
        state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    torch.save(state, tmp_path / "elan.pth")
    network, description = read_checkpoint(tmp_path / "elan.pth", window_sizes=[2, 4])
    assert description["model"]["mean"] == list(DIV2K)
    assert description["assumed"] == ("shift_schedule",)
    rounded = {key: value.to(dtype).to(value.dtype) for key, value in elan.state_dict().items()}
    for key, value in network.state_dict().items():
        assert torch.equal(value, rounded[key] if value.is_floating_point() else elan.state_dict()[key])


def test_a_moved_shift_kernel_is_still_refused_in_half_precision(elan, tmp_path):
    state = {key: value.half() for key, value in official_state(elan).items()}
    key = next(key for key in state if key.endswith("shift_conv.weight"))
    state[key] = state[key] + 0.01
    torch.save(state, tmp_path / "elan.pth")
    with pytest.raises(ValueError, match=r"shift_conv.weight differs from the constant"):
        load_model(tmp_path / "elan.pth")


def test_an_elan_without_mean_shifts_is_loaded_without(elan, tmp_path, caplog):
    state = {key: value for key, value in official_state(elan).items() if "_mean." not in key}
    torch.save({"params_ema": state}, tmp_path / "trainner.pth")
    network, description = read_checkpoint(tmp_path / "trainner.pth", window_sizes=[2, 4])
    assert (description["model"]["mean"], description["model"]["value_range"]) == ([0.0, 0.0, 0.0], 1.0)
    assert {"mean", "value_range"} <= set(description["assumed"])
    # by algebra: without a shift the body sees x' as it sees (x - m) * 255 with one, if x = x' / 255 + m
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        mean = torch.tensor(DIV2K).view(3, 1, 1)
        expected = (elan.double()((image / 255 + mean).double()) - mean) * 255
        assert_close(network.double()(image.double()), expected, rtol=0, atol=1e-4)
    told = load_model(tmp_path / "trainner.pth", window_sizes=[2, 4], mean=list(DIV2K), value_range=255.0)
    assert_same_function(told, elan.float())


@pytest.mark.parametrize("name", ["swinir_light", "hit_srf", "edsr_baseline"])
def test_a_mean_that_the_keys_do_not_tell_is_an_assumption_that_can_be_set(name, tmp_path):
    smaller = {"edsr_baseline": {"dim": 8, "depth": 1}}
    changes = smaller.get(name, {"dim": 24, "depths": [2], "num_heads": [2]})
    if name == "hit_srf":
        changes["window_sizes"] = [4, 8]
    network = srlab.create_model(name, scale=2, mean=[0.5, 0.5, 0.5], **changes).eval()
    torch.save(official_state(network), tmp_path / "neosr.pth")
    assert "mean" in read_checkpoint(tmp_path / "neosr.pth").description["assumed"]
    loaded, description = read_checkpoint(tmp_path / "neosr.pth", mean=[0.5, 0.5, 0.5])
    assert "mean" not in description["assumed"]
    assert_same_function(loaded, network)
    gray = torch.full((1, 3, 8, 8), 0.5)
    with torch.no_grad():
        seen = (gray - loaded.mean) * loaded.value_range
    assert not seen.any()


@pytest.mark.parametrize("mean", [0.5, [0.5], "abc", [0.1, 0.2, None], [0.1, 0.2, float("nan")]])
def test_a_mean_is_three_numbers(mean):
    with pytest.raises(ValueError, match="mean must be three numbers"):
        srlab.create_model("edsr_baseline", scale=2, mean=mean)


WEIGHTS = os.environ.get("SRLAB_WEIGHTS")
DATA = os.environ.get("SRLAB_DATA")


@pytest.mark.skipif(not (WEIGHTS and DATA), reason="needs SRLAB_WEIGHTS and SRLAB_DATA")
def test_two_trained_networks_load_and_elan_is_the_one_with_its_keys_renamed(tmp_path):
    file = Path(str(WEIGHTS)) / "ELAN-light_LSR_x4_unofficial.pth"
    params = torch.load(file, weights_only=True)["params"]
    renamed = {}
    for key, value in params.items():
        parts = key.split(".")
        if parts[0] == "head":
            parts = ["head", "0", parts[1]]
        elif parts[0] == "body" and parts[2] == "modules_lfe":
            step = {"0": "conv0", "2": "conv1"}[parts[5]]
            inner = ["weight"] if parts[6] == "mask" else ["conv1x1", parts[6]]
            parts = ["body", parts[1], "modules_lfe", f"lfe_{parts[3]}", step, "shift_conv", *inner]
        elif parts[0] == "body":
            parts[3] = f"gmsa_{parts[3]}"
        renamed[".".join(parts)] = value
    torch.save({"model_state_dict": renamed}, tmp_path / "authors.pt")
    photograph = next(Path(str(DATA)).rglob("butterflyx4.png"))
    pixels = np.asarray(Image.open(photograph).convert("RGB"))[:40, :48]
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    network = load_model(file)
    with torch.no_grad():
        restored = network(image)
        assert_close(restored, load_model(tmp_path / "authors.pt")(image), rtol=0, atol=0)
    small = F.interpolate(restored, scale_factor=0.25, mode="area")
    assert (small - image).abs().mean() < 0.02  # an enlargement of this photograph
    hit, description = read_checkpoint(Path(str(WEIGHTS)) / "NTIRE2025_team54_HITSR.pth")
    assert (type(hit).__name__, description["container"]) == ("HiTSR", "params")


def test_weights_for_other_colours_do_not_start_a_training(elan, tmp_path):
    torch.save(
        {key: value for key, value in official_state(elan).items() if "_mean." not in key}, tmp_path / "e"
    )
    target = srlab.create_model("elan_demo", scale=3, window_sizes=[2, 4], depth=4)
    with pytest.raises(ValueError, match=r"has the colours .*'value_range': 1.0.*give \+model.mean"):
        start_from(target, tmp_path / "e")


@pytest.mark.parametrize("network", [ATD, PFT])
def test_an_index_is_left_out_under_its_own_key_alone(network):
    """Under any other key it is an entry that does not fit, and is reported."""
    layout = official_layout(network)
    index, elsewhere = "relative_position_index_SA", "layers.0.relative_position_index_SA"
    assert layout.to_ours({index: torch.zeros(1), elsewhere: torch.zeros(1)}).keys() == {
        "groups.0.relative_position_index_SA"
    }
