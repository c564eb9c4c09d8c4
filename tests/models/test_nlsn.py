"""NLSN against recorded outputs of the authors' code, with the random rotations that these drew."""

import math

import pytest
import torch
from torch.testing import assert_close

import srlab
from golden_files import golden_files, load_golden
from official_networks import (
    assert_gradients_match,
    assert_recorded_state,
    detect,
    deviation,
    rebuild,
    recorded_pairs,
)
from srlab.counts.live_memory import count_live_bytes
from srlab.models.nlsn import NLSN, NonLocalSparseAttention
from srlab.ops.hashed_attention import hash_vectors

SMALL = {
    "scale": 2, "dim": 8, "depth": 2, "attention_every": 1, "reduction": 4, "chunk_size": 6, "num_rounds": 3,
    "residual_scale": 0.5, "value_range": 1.0,
}  # fmt: skip
WHOLE = pytest.mark.parametrize("name", golden_files("nlsn/*.npz"))
BACKENDS = pytest.mark.parametrize("backend", NLSN.plain_backends)


def small(**overrides):
    torch.manual_seed(0)
    return NLSN(**{**SMALL, **overrides})


def rebuilt(golden, backend):
    """The recorded network, with the arguments that its file does not determine."""
    config = golden.about["config"]
    told = {"chunk_size": config["chunk_size"], "num_rounds": config["n_hashes"]}
    return rebuild(NLSN, golden, residual_scale=config["res_scale"], backend=backend, **told)


def attentions(network):
    return [module for module in network.modules() if isinstance(module, NonLocalSparseAttention)]


def replay(network, golden, forward):
    """Rotations that the authors' code drew in one forward pass take the place of ours."""
    for index, attention in enumerate(attentions(network)):
        attention.rotations = golden.arrays[f"rotations/{forward}/{index}"].clone()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@BACKENDS
@WHOLE
def test_whole_network_gives_the_official_output(name, backend, dtype):
    golden = load_golden(name)
    network = rebuilt(golden, backend).to(dtype)
    for index, (lr_image, expected, tolerance) in enumerate(recorded_pairs(golden, dtype)):
        replay(network, golden, index)
        with torch.no_grad():
            assert deviation(network(lr_image / 255), expected) <= tolerance


@BACKENDS
@WHOLE
def test_attention_gives_the_official_buckets_and_map(name, backend):
    golden = load_golden(name)
    network = rebuilt(golden, backend).double()
    replay(network, golden, 0)
    attention, features = attentions(network)[0], golden.arrays["b0/in"]
    rounds, buckets = attention.rotations.shape[1], 2 * attention.rotations.shape[2]
    with torch.no_grad():
        codes = hash_vectors(attention.match(features).flatten(2).mT, attention.rotations)
        assert deviation(attention(features, backend), golden.arrays["b0/out"]) <= 1e-9
    offsets = buckets * torch.arange(rounds)[:, None]
    assert torch.equal((codes + offsets).flatten(1), golden.arrays["b0/codes"])


@BACKENDS
@WHOLE
def test_a_step_gives_the_official_loss_and_gradients(name, backend):
    golden = load_golden(name)
    network = rebuilt(golden, backend).double()
    replay(network, golden, "step")
    lr_image, hr_image = (golden.arrays[f"step/{each}"].double() / 255 for each in "xt")
    loss = (network(lr_image) - hr_image).abs().mean()
    loss.backward()
    assert loss.item() == pytest.approx(golden.about["loss_value"], rel=1e-9)
    assert_gradients_match(network, golden)


@WHOLE
def test_detected_arguments_and_sizes_are_the_recorded_ones(name):
    golden = load_golden(name)
    config = golden.about["config"]
    arguments = detect(NLSN, golden.weights())
    expected = {
        "scale": config["scale"], "dim": config["n_feats"], "depth": config["n_resblocks"],
        "attention_every": 8, "reduction": 4, "value_range": 1.0, "mean": [0.4488, 0.4371, 0.4040],
    }  # fmt: skip
    assert {name: arguments[name] for name in expected} == expected
    network = rebuilt(golden, "reference")
    assert_recorded_state(network, golden)


@BACKENDS
def test_one_chunk_is_plain_attention_to_all_pixels(backend):
    """Oracle: soft-max over all pairs; every round and every neighbour is the whole image, so all agree."""
    attention = attentions(small().double())[0]
    embedded, values = (torch.rand(2, 5, size, dtype=torch.float64) for size in (2, 8))
    scores = embedded @ torch.nn.functional.normalize(embedded, dim=-1).mT
    attention.eval()
    assert_close(attention.attend(embedded, values, backend), scores.softmax(-1) @ values)


@BACKENDS
def test_many_slabs_and_uneven_chunks_are_what_loops_give(backend):
    """Oracle: each pixel by itself, with the pixels of three chunks of a ring in each round."""
    torch.manual_seed(0)
    size, rounds, length = 2, 2, 83  # 42 chunks: the streamed form needs two slabs
    attention = attentions(small(chunk_size=size, num_rounds=rounds).double().eval())[0]
    embedded, values = (torch.randn(length, width, dtype=torch.float64) for width in (2, 8))
    result = attention.attend(embedded[None], values[None], backend)[0]
    codes = hash_vectors(embedded[None], attention.rotations_for(embedded, 42))[0]
    total, weight = torch.zeros(length, 8, dtype=torch.float64), torch.zeros(length, 1, dtype=torch.float64)
    for code in codes:
        order = sorted(range(length), key=lambda pixel: (int(code[pixel]), pixel))
        chunks = [[*order, order[-1]][start : start + size] for start in range(0, length, size)]
        for index, chunk in enumerate(chunks):
            seen = [*chunks[index - 1], *chunk, *chunks[(index + 1) % len(chunks)]]
            keys = embedded[seen] / embedded[seen].norm(dim=1, keepdim=True)
            for pixel in dict.fromkeys(chunk):
                shares = (keys @ embedded[pixel]).exp()
                total[pixel] += shares @ values[seen]
                weight[pixel] += shares.sum()
    assert_close(result, total / weight)


def test_evaluation_repeats_itself_and_depends_on_the_seed():
    image = torch.rand(1, 3, 9, 8)
    with torch.no_grad():
        first, again, other = (small(hash_seed=seed).eval()(image) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("seed", "training"), [(0, True), (None, False)])
def test_rotations_are_drawn_again_in_training_and_without_a_seed(seed, training):
    network, image = small(hash_seed=seed).train(training), torch.rand(1, 3, 9, 8)
    with torch.no_grad():
        assert not torch.equal(network(image), network(image))


def test_rotations_are_normally_distributed_and_differ_between_attentions():
    first, second, *_ = (each.rotations for each in attentions(small(dim=128, num_rounds=4)))
    assert abs(first.mean()) < 5 / math.sqrt(first.numel())
    assert abs(first.std() - 1) < 5 / math.sqrt(first.numel())
    assert not torch.equal(first, second)


def test_streaming_stores_no_scores():
    """Rounds of 80 chunks: the reference holds the scores and the threefold values of all four."""
    network = srlab.create_model("nlsn", scale=2, dim=16, depth=1, chunk_size=36).eval()
    attention = attentions(network)[0]
    embedded, values = (torch.rand(1, 36 * 80, width) for width in (4, 16))
    stored = {}
    for backend in NLSN.plain_backends:
        with torch.no_grad():
            stored[backend], _ = count_live_bytes(
                lambda form=backend: attention.attend(embedded, values, form)
            )
    assert stored["streamed"] < 0.3 * stored["reference"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"dim": 0}, r"dim must be an integer of at least 1, got 0"),
        ({"depth": 0}, r"depth must be an integer of at least 1, got 0"),
        ({"attention_every": 0}, r"attention_every must be an integer of at least 1, got 0"),
        ({"reduction": 9}, r"reduction=9 leaves none of dim=8 channels; use at most 8"),
        ({"chunk_size": 0}, r"chunk_size must be an integer of at least 1, got 0"),
        ({"num_rounds": 0}, r"num_rounds must be an integer of at least 1, got 0"),
        ({"hash_seed": -1}, r"hash_seed must be an integer of at least 0, got -1"),
        ({"backend": "sdpa"}, r"NLSN has no backend 'sdpa'; choose one of reference, streamed, auto"),
    ],
)
def test_impossible_arguments_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        small(**overrides)
