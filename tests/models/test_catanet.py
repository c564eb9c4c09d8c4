"""CATANet against recorded outputs of the official code, its sort made stable."""

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.testing import assert_close

import srlab
from golden_files import Golden, load_golden
from official_networks import (
    assert_gradients_match,
    assert_recorded_outputs,
    assert_recorded_state,
    assumed,
    detect,
    deviation,
    rebuild,
)
from srlab.counts.live_memory import count_live_bytes
from srlab.models.catanet import CATANet

SMALL = {
    "scale": 2, "dim": 8, "query_dim": 4, "hidden_dim": 10, "num_heads": 2, "num_centres": [3, 4],
    "group_sizes": [16, 8], "patch_sizes": [6, 8], "iterations": 3,
}  # fmt: skip
# What the recorded file does not determine.
TOLD = {"num_heads": 2, "group_sizes": [16, 10], "patch_sizes": [6, 8], "iterations": 3}
BACKENDS = pytest.mark.parametrize("backend", CATANet.plain_backends)


def small(**overrides):
    torch.manual_seed(0)
    return CATANet(**{**SMALL, **overrides})


@pytest.fixture
def golden() -> Golden:
    return load_golden("catanet/catanet_x2.npz")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@BACKENDS
def test_whole_network_gives_the_official_output(golden, backend, dtype):
    network = rebuild(CATANet, golden, backend=backend, **TOLD).to(dtype)
    assert_recorded_outputs(network, golden, dtype, levels=256)


@BACKENDS
def test_parts_of_the_first_block_give_the_official_maps(golden, backend):
    """Rows and columns of 11 and 23 pixels: the last patch overlaps the two before it."""
    block = rebuild(CATANet, golden, **TOLD).double().body[0]
    features, aggregated, patches = (
        golden.arrays[f"m/{each}"].permute(0, 2, 3, 1) for each in ("input", "aggregated", "patches")
    )
    stored = block.aggregation.centres, block.aggregation.is_trained
    with torch.no_grad():
        mixed = features + block.aggregation(features, *stored, backend)[0]
        mixed = mixed + block.aggregation_mlp(block.aggregation_norm(mixed))
        assert deviation(mixed, aggregated) <= 1e-9
        mixed = block.patches(aggregated, backend)
        assert deviation(mixed + block.patches_mlp(block.patches_norm(mixed)), patches) <= 1e-9


@BACKENDS
def test_two_training_steps_have_the_official_losses_gradients_and_centres(golden, backend):
    network = rebuild(CATANet, golden, backend=backend, **TOLD).double().train()
    for block in network.body:
        block.aggregation.is_trained.fill_(False)
    lr_image, hr_image = golden.arrays["x0"].double() / 256, golden.arrays["target"].double()
    for step, image in enumerate((lr_image, lr_image.flip(-1))):
        loss = F.l1_loss(network(image), hr_image)
        assert loss.item() == pytest.approx(golden.about["loss_second" if step else "loss"], abs=1e-9)
        if step == 0:
            loss.backward()
            assert_gradients_match(network, golden)
        for index, block in enumerate(network.body):
            assert deviation(block.aggregation.centres, golden.arrays[f"centres/{step}/{index}"]) <= 1e-9
            assert block.aggregation.is_trained


def test_detected_arguments_and_sizes_are_the_recorded_ones(golden):
    arguments = detect(CATANet, golden.weights())
    assert arguments is not None
    config = golden.about["config"]
    expected = {
        "scale": 2, "dim": config["dim"], "query_dim": config["qk_dim"], "hidden_dim": config["mlp_dim"],
        "num_centres": config["num_tokens"],
    }  # fmt: skip
    assert {name: arguments[name] for name in expected} == expected
    assert set(assumed(CATANet, golden.weights())) == TOLD.keys()
    network = rebuild(CATANet, golden, **TOLD)
    assert_recorded_state(network, golden)


@BACKENDS
def test_each_token_attends_to_its_group_the_next_one_and_the_centres(backend):
    """Oracle: each token by itself, in lists sorted by Python; 3 groups of 5 among 13 tokens."""
    aggregation = small(group_sizes=[5, 5]).double().body[0].aggregation
    tokens = torch.randn(1, 13, 8, dtype=torch.float64)
    centres = torch.randn(3, 8, dtype=torch.float64)
    with torch.no_grad():
        found = aggregation.attend(tokens, centres, backend)[0]
        query, key, value = (each[0].unflatten(-1, (2, -1)) for each in aggregation.project(tokens))
        centre_key, centre_value = (
            project(centres).unflatten(-1, (2, -1))
            for project in (aggregation.centre_key, aggregation.centre_value)
        )
        nearest = F.cosine_similarity(tokens[0][:, None], centres, dim=-1).argmax(1).tolist()
        order = sorted(range(13), key=lambda token: (nearest[token], token))
        extended = [*order, *reversed(order)][:20]
        for place, token in enumerate(order):
            start = place // 5 * 5
            seen = extended[start : start + 10]
            parts = [
                ((keys[:, head] @ query[token, head]) / 2**0.5).softmax(0) @ values[:, head]
                for keys, values in ((key[seen], value[seen]), (centre_key, centre_value))
                for head in range(2)
            ]
            expected = aggregation.merge(torch.cat(parts[:2]) + torch.cat(parts[2:]))
            assert_close(found[token], expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (9, 5)])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_size_is_enlarged_and_trained(size, scale):
    network = small(scale=scale)
    sr_image = network(torch.rand(2, 3, *size))
    assert sr_image.shape == (2, 3, scale * size[0], scale * size[1])
    sr_image.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    assert network.body[1].aggregation.centres.norm(dim=1).allclose(torch.ones(4))


SHARES = (slice(0, 3), slice(3, 4))


def trained(share):
    """Gradients and centres after two passes over a share of a batch of four."""
    network = small().double().train()
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):
        images = torch.rand(4, 3, 9, 11, generator=generator, dtype=torch.float64)[share]
        network(images).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    return gradients, dict(network.named_buffers())


def on_two_ranks(rank, rendezvous, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    torch.save(trained(SHARES[rank]), f"{results}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow  # starts processes
def test_two_processes_refine_the_centres_of_the_joined_batch(tmp_path):
    torch.multiprocessing.spawn(on_two_ranks, (tmp_path / "rendezvous", tmp_path), nprocs=2)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    gradients, buffers = trained(slice(None))
    for name, expected in gradients.items():
        assert_close(parts[0][0][name] + parts[1][0][name], expected, rtol=1e-9, atol=1e-9, msg=name)
    for name, expected in buffers.items():
        assert torch.equal(parts[0][1][name], parts[1][1][name])
        assert_close(parts[0][1][name], expected)


def test_no_backend_but_the_reference_stores_maps():
    network = srlab.create_model("catanet", scale=4, num_centres=[16], group_sizes=[256], patch_sizes=[28])
    image, stored = torch.rand(1, 3, 56, 56), {}
    for backend in CATANet.plain_backends:
        network.eval().use_backend(backend)
        with torch.no_grad():
            stored[backend], _ = count_live_bytes(lambda: network(image))
    assert stored["sdpa"] < 0.3 * stored["reference"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"dim": 9}, r"dim=9 must be a multiple of num_heads=2"),
        ({"query_dim": 5}, r"query_dim=5 must be a multiple of num_heads=2"),
        ({"scale": 5}, r"CATANet upsamples by 2, 3 or 4, got scale=5"),
        ({"patch_sizes": [2, 8]}, r"patch_sizes=\[2, 8\] must be more than 2, the pixels that patches share"),
        ({"patch_sizes": [6]}, r"group_sizes has 2 entries and patch_sizes has 1 entries; give one of each"),
        ({"num_centres": []}, r"num_centres must be a list of at least one integer"),
    ],
)
def test_impossible_arguments_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        small(**overrides)
