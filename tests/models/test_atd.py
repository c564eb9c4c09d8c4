"""ATD against recorded outputs of the official code, its sort made stable."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import srlab
from golden_files import Golden, load_golden
from official_networks import (
    assert_recorded_outputs,
    assert_recorded_state,
    assert_recorded_step,
    assumed,
    detect,
    deviation,
    rebuild,
)
from srlab.counts.live_memory import count_live_bytes
from srlab.models.atd import ATD, CategoryAttention, DictionaryAttention, DictionaryRefinement

SMALL = {
    "scale": 2, "dim": 8, "depths": [2, 1], "num_heads": [2, 1], "window_size": 4, "category_size": 6,
    "dictionary_size": 5, "query_dim": 4, "kernel_side": 3, "mlp_ratio": 1.5, "head": "pixelshuffledirect",
    "connection": "1conv", "value_range": 1.0, "shift_schedule": "alternate",
}  # fmt: skip
# What the recorded file does not determine.
TOLD = {"category_size": 10}
BACKENDS = pytest.mark.parametrize("backend", ATD.plain_backends)


def small(**overrides):
    torch.manual_seed(0)
    return ATD(**{**SMALL, **overrides})


def random(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)


@pytest.fixture
def golden() -> Golden:
    return load_golden("atd/atd_light_x2.npz")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@BACKENDS
def test_whole_network_gives_the_official_output(golden, backend, dtype):
    network = rebuild(ATD, golden, backend=backend, **TOLD).to(dtype)
    assert_recorded_outputs(network, golden, dtype, levels=256)


@BACKENDS
def test_blocks_give_the_official_maps_and_dictionaries(golden, backend):
    """Blocks 0 and 3 of plain windows, and 1, which shifts them; 3 starts from the second dictionary."""
    network, found = rebuild(ATD, golden, backend=backend, **TOLD).double(), {}
    blocks = [block for group in network.groups for block in group.blocks]
    for index in (0, 1, 3):
        blocks[index].register_forward_hook(
            lambda _module, _inputs, output, index=index: found.update({index: output})
        )
    with torch.no_grad():
        network(golden.arrays["x0"].double() / 256)
    for index, (features, dictionary) in found.items():
        assert deviation(features.flatten(1, 2), golden.arrays[f"m/{index}"]) <= 1e-9
        assert deviation(dictionary, golden.arrays[f"m/dictionary/{index}"]) <= 1e-9


@BACKENDS
def test_a_training_step_has_the_official_loss_and_gradients(golden, backend):
    assert_recorded_step(rebuild(ATD, golden, backend=backend, **TOLD), golden)


def test_detected_arguments_and_sizes_are_the_recorded_ones(golden):
    arguments = detect(ATD, golden.weights())
    assert arguments is not None
    config = golden.about["config"]
    expected = {
        "scale": 2, "dim": config["embed_dim"], "depths": config["depths"], "num_heads": config["num_heads"],
        "window_size": 4, "dictionary_size": config["num_tokens"], "query_dim": config["reducted_dim"],
        "kernel_side": config["convffn_kernel_size"], "mlp_ratio": 1.0,
    }  # fmt: skip
    assert {name: arguments[name] for name in expected} == expected
    assert set(assumed(ATD, golden.weights())) == {*TOLD, "mean", "value_range", "shift_schedule"}
    network = rebuild(ATD, golden, **TOLD)
    assert_recorded_state(network, golden)


@BACKENDS
@pytest.mark.parametrize("factor", [10.0, 1000.0])
def test_each_token_attends_to_the_group_of_its_category_alone(backend, factor):
    """Oracle: each token by itself, in lists sorted by Python; 3 groups of 5 among 13 tokens."""
    attention = CategoryAttention(dim=8, num_heads=2, category_size=5).double()
    qkv, shares = random(1, 13, 24), random(1, 13, 3, 1)[..., 0].softmax(-1)
    with torch.no_grad():
        attention.log_factor.fill_(math.log(factor))
        found = attention(qkv, shares, backend)[0]
        query, key, value = (each[0].unflatten(-1, (2, 4)) for each in qkv.chunk(3, dim=-1))
        category = shares[0].argmax(-1).tolist()
        order = sorted(range(13), key=lambda token: (category[token], token))
        extended = [*order, *reversed(order)][:15]
        for place, token in enumerate(order):
            seen = extended[place // 5 * 5 : place // 5 * 5 + 5]
            logits = torch.einsum("tmd,md->mt", key[seen], query[token]) * min(factor, 100)
            mixed = torch.einsum("mt,tmd->md", logits.softmax(-1), value[seen]).flatten()
            assert_close(found[token], attention.proj(mixed))


def test_the_dictionary_is_looked_up_by_cosines_of_limited_sharpness():
    attention = DictionaryAttention(dim=6, query_dim=4, dictionary_size=3).double()
    tokens, dictionary = random(2, 7, 6), random(1, 2, 3, 6)[0]
    with torch.no_grad():
        attention.sharpness.copy_(torch.tensor([-0.5, 0.3, 1.7], dtype=torch.float64))
        mixed, shares = attention(tokens, dictionary)
        cosines = F.cosine_similarity(
            attention.query(tokens)[:, :, None], attention.key(dictionary)[:, None], dim=-1
        )
        factors = 1 + math.log(3) * torch.tensor([0, 0.3, 1], dtype=torch.float64)
        assert_close(shares, (cosines * factors).softmax(-1))
        assert_close(mixed, torch.einsum("bnk,bkc->bnc", shares, attention.value(dictionary)))


def test_an_entry_moves_towards_the_tokens_with_its_largest_shares():
    """With equal shares to their mean; an entry whose gate is wide open stays."""
    refinement = DictionaryRefinement(dictionary_size=2).double()
    tokens, dictionary, shares = random(1, 9, 6), random(1, 2, 6), torch.full((1, 9, 2), 0.5).double()
    with torch.no_grad():
        refinement.gate.copy_(torch.tensor([[-50.0], [50.0]]))
        found = refinement(dictionary, shares, tokens)
        assert_close(found[:, 0], tokens.mean(1))
        assert_close(found[:, 1], dictionary[:, 1])
        shares[0, 4, 0] = 0.9
        refinement.norm.weight[0] = 1000.0
        assert_close(refinement(dictionary, shares, tokens)[:, 0], tokens[:, 4])


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (9, 5)])
def test_every_size_is_enlarged_and_trained(size):
    network = small()
    sr_image = network(torch.rand(2, 3, *size))
    assert sr_image.shape == (2, 3, 2 * size[0], 2 * size[1])
    sr_image.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_no_backend_but_the_reference_stores_maps():
    network = srlab.create_model("atd_light", scale=4, depths=[2], num_heads=[4]).eval()
    image, stored = torch.rand(1, 3, 32, 32), {}
    for backend in ATD.plain_backends:
        network.use_backend(backend)
        with torch.no_grad():
            stored[backend], _ = count_live_bytes(lambda: network(image))
    assert stored["sdpa"] < 0.5 * stored["reference"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"dim": 9}, r"dim=9 must be a multiple of num_heads=2"),
        ({"kernel_side": 4}, r"kernel_side=4 must be odd"),
        ({"category_size": 0}, r"category_size must be an integer of at least 1, got 0"),
        ({"num_heads": [2]}, r"depths has 2 entries and num_heads has 1 entries; give one .* every group"),
    ],
)
def test_impossible_arguments_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        small(**overrides)
