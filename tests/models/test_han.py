"""HAN against recorded outputs of the authors' code."""

import pytest
import torch
from torch.testing import assert_close

from golden_files import golden_files, load_golden
from official_networks import (
    assert_gradients_match,
    assert_recorded_outputs,
    assert_recorded_state,
    detect,
    deviation,
    rebuild,
)
from srlab.checkpoints import load_model, official_state
from srlab.models.han import HAN, ChannelSpatialAttention, LayerAttention

SMALL = {"scale": 2, "dim": 8, "num_groups": 2, "depth": 1, "squeeze_factor": 4, "value_range": 255.0}
WHOLE = pytest.mark.parametrize("name", golden_files("han/*.npz"))


def small(**overrides):
    torch.manual_seed(0)
    return HAN(**{**SMALL, **overrides})


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@WHOLE
def test_whole_network_gives_the_official_output(name, dtype):
    golden = load_golden(name)
    network = rebuild(HAN, golden).to(dtype)
    assert_recorded_outputs(network, golden, dtype, levels=255)


@WHOLE
def test_attentions_give_the_official_maps(name):
    golden = load_golden(name)
    network, seen = rebuild(HAN, golden).double(), {}
    network.layer_attention.register_forward_hook(lambda module, inputs, _: seen.update(maps=inputs[0]))
    network.conv_layers.register_forward_hook(lambda *passed: seen.update(last_conv=passed[2]))
    network.channel_spatial_attention.register_forward_hook(lambda *passed: seen.update(csa=passed[2]))
    with torch.no_grad():
        network(golden.arrays["x0"].double() / 255)
        seen["attention"] = network.layer_attention.weights(seen["maps"])
    for key in ("attention", "csa", "last_conv"):
        assert deviation(seen[key], golden.arrays[f"b0/{key}"]) <= 1e-9, key


@WHOLE
def test_detected_arguments_and_sizes_are_the_recorded_ones(name):
    golden = load_golden(name)
    config = golden.about["config"]
    assert detect(HAN, golden.weights()) == {
        "scale": config["scale"],
        "dim": config["n_feats"],
        "num_groups": config["n_resgroups"],
        "depth": config["n_resblocks"],
        "squeeze_factor": config["reduction"],
        "value_range": 255.0,
        "mean": [0.4488, 0.4371, 0.4040],
    }
    network = rebuild(HAN, golden)
    assert_recorded_state(network, golden)


@pytest.mark.parametrize("name", golden_files("han/han_x2.npz"))
def test_a_training_step_gives_the_official_loss_and_gradients(name):
    golden = load_golden(name)
    network = rebuild(HAN, golden).double().train()
    lr_image, hr_image = (golden.arrays[f"step/{each}"].double() / 255 for each in "xt")
    loss = 255 * (network(lr_image) - hr_image).abs().mean()
    loss.backward()
    assert loss.item() == pytest.approx(golden.about["loss_value"], rel=1e-9)
    assert_gradients_match(network, golden)


def test_a_map_weighs_less_the_more_it_correlates():
    """Oracle: by hand, two maps with squares 1 and 4 and no product."""
    maps = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).view(1, 2, 1, 1, 2)
    falling = [[1 / (1 + torch.e), torch.e / (1 + torch.e)], [1 / (1 + torch.e**-4), 0.0]]
    falling[1][1] = 1 - falling[1][0]
    attention = LayerAttention()
    assert_close(attention.weights(maps)[0], torch.tensor(falling))
    attention.gamma.data.fill_(0.5)
    (own, other), (first, second) = falling
    expected = torch.tensor([[1 + 0.5 * own, other], [0.5 * first, 2 + second]])
    assert_close(attention(maps).view(2, 2), expected)


def test_a_value_is_weighed_by_its_neighbours_in_all_three_directions():
    """Oracle: a kernel that reads the next channel of the pixel to the left."""
    attention = ChannelSpatialAttention()
    attention.gamma.data.fill_(2.0)
    attention.conv.weight.data.zero_()
    attention.conv.weight.data[0, 0, 2, 1, 0] = 1.0
    attention.conv.bias.data.zero_()
    features = torch.rand(1, 3, 2, 4)
    read = torch.zeros_like(features)
    read[:, :2, :, 1:] = features[:, 1:, :, :3]
    assert_close(attention(features), features * (1 + 2 * torch.sigmoid(read)))


def test_layer_attention_under_autocast_stays_finite_where_its_sums_exceed_float16():
    attention = LayerAttention()
    attention.gamma.data.fill_(1.0)
    maps = torch.full((1, 2, 4, 64, 64), 3.0, dtype=torch.float16)  # sums of products: 147,456
    with torch.autocast("cpu", torch.float16):
        assert attention(maps).isfinite().all()
    with pytest.raises(ValueError, match=r"weights in float16.* layer attention sums products"):
        small().half()(torch.rand(1, 3, 4, 4).half())


def test_a_mean_shift_that_is_none_is_refused(tmp_path):
    state = official_state(small())
    state["add_mean.weight"] = 2 * state["add_mean.weight"]
    torch.save(state, tmp_path / "han.pt")
    with pytest.raises(
        ValueError,
        match=r"HAN, but cannot be read: add_mean.weight differs from the constant",
    ):
        load_model(tmp_path / "han.pt")


@pytest.mark.parametrize("value_range", [255.0, 1.0])
def test_official_files_of_both_ranges_are_the_same_function(value_range, tmp_path):
    network = small(value_range=value_range)
    torch.save(official_state(network), tmp_path / "han.pt")
    image = torch.rand(1, 3, 5, 4)
    with torch.no_grad():
        assert_close(load_model(tmp_path / "han.pt")(image), network(image), rtol=0, atol=0)


@pytest.mark.parametrize("size", [(1, 1), (5, 2)])
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_every_size_is_enlarged_exactly(size, scale):
    network = small(scale=scale)
    assert network(torch.rand(2, 3, *size)).shape == (2, 3, scale * size[0], scale * size[1])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"dim": 0}, r"dim must be an integer of at least 1, got 0"),
        ({"num_groups": 0}, r"num_groups must be an integer of at least 1, got 0"),
        ({"depth": 0}, r"depth must be an integer of at least 1, got 0"),
        ({"squeeze_factor": 9}, r"squeeze_factor=9 leaves none of dim=8 channels; use at most 8"),
    ],
)
def test_impossible_arguments_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        small(**overrides)
