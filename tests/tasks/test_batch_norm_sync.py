"""Batch norm of two processes against BatchNorm2d over their joined batch."""

import copy
import functools
import pickle

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.testing import assert_close

from srlab.layers.recomputation import recompute_activations
from srlab.tasks.batch_norm_sync import BatchNormSync, SyncedBatchNorm2d

CHANNELS = 3
SHARES = (slice(0, 3), slice(3, 4))  # unlike sizes
TOLERANCE = {
    "double": 1e-12,
    "single": 1e-5,
    "recomputed": 1e-5,
    "far from zero": 1e-4,
    "half": 4e-3,
    "compiled": 1e-5,
    "compiled and recomputed": 1e-5,
}
EAGER, COMPILED = tuple(TOLERANCE)[:5], tuple(TOLERANCE)[5:]


class Around(nn.Module):
    """What is compiled: a network of one block."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, images):
        return 2 * self.layers(images)


def block(kind):
    """A convolution, a norm that has seen a batch and has parameters of its own, an activation."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(CHANNELS, momentum=0.3)
    norm(2 + torch.randn(2, CHANNELS, 4, 4))
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    # something behind the norm keeps activations, too: recomputation ends with the last one that is needed
    layers = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), norm, nn.GELU())
    if kind == "far from zero":
        nn.init.constant_(layers[0].bias, 300.0)
    if "recomputed" in kind:
        recompute_activations(layers)
    return layers.double() if kind == "double" else layers


def learnt(layers, kind, share):
    """Output, gradients and statistics after two batches of which this process has ``share``."""
    generator = torch.Generator().manual_seed(1)
    dtype = torch.float64 if kind == "double" else torch.float32
    restore = Around(layers).forward
    if "compiled" in kind:
        restore = torch.compile(restore, backend="aot_eager")
    outputs = []
    for _ in range(2):
        images = torch.randn(4, CHANNELS, 5, 6, generator=generator, dtype=torch.float64).to(dtype)[share]
        weights = torch.randn(4, CHANNELS, 5, 6, generator=generator, dtype=torch.float64).to(dtype)[share]
        images.requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == "half"):
            restored = restore(images)
        (restored.float() * weights).sum().backward()
        outputs += [restored.detach(), images.grad]
    of_norm = {f"gradient of {name}": p.grad for name, p in layers[1].named_parameters()}
    return outputs, {
        **of_norm,
        "gradient of convolution": layers[0].weight.grad,
        **dict(layers[1].named_buffers()),
    }


def on_two_ranks(rank, kinds, rendezvous, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    found = {kind: learnt(BatchNormSync().apply(block(kind)), kind, SHARES[rank]) for kind in kinds}
    torch.save(found, f"{results}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found_by_ranks(tmp_path_factory):
    """What each process found for a kind; one pair of processes for the eager kinds, one for the compiled."""

    @functools.cache
    def found(kinds):
        folder = tmp_path_factory.mktemp("ranks")
        torch.multiprocessing.spawn(on_two_ranks, (kinds, folder / "rendezvous", folder), nprocs=2)
        return [torch.load(folder / f"{rank}.pt") for rank in range(2)]

    return lambda kind: [part[kind] for part in found(COMPILED if kind in COMPILED else EAGER)]


@pytest.mark.parametrize("kind", [*EAGER, *(pytest.param(kind, marks=pytest.mark.slow) for kind in COMPILED)])
def test_two_processes_normalize_as_one_with_the_joined_batch(found_by_ranks, kind):
    """Forward, backward, running statistics; a recomputed block counts a batch once."""
    found = found_by_ranks(kind)
    outputs, sums = learnt(block(kind), kind, slice(None))
    close = {"rtol": TOLERANCE[kind], "atol": TOLERANCE[kind] * max(1, abs(outputs[0]).max().item())}
    for index, whole in enumerate(outputs):
        joined = torch.cat([found[rank][0][index] for rank in range(2)])
        assert joined.dtype == whole.dtype
        assert_close(joined, whole, **close)
    for name, expected in sums.items():
        parts = [found[rank][1][name] for rank in range(2)]
        if name.startswith("gradient"):  # DDP adds up those of processes
            size = {"rtol": close["rtol"], "atol": 100 * close["atol"]}  # sums of 120 products
            assert_close(parts[0] + parts[1], expected, **size)
        else:
            assert torch.equal(parts[0], parts[1]), name
            assert_close(parts[0], expected, **close)


def test_norms_are_joined_in_place_and_parted_again():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    norm, keys = network[1], list(network.state_dict())
    assert BatchNormSync().apply(network) is network
    assert network[1] is norm
    assert isinstance(norm, SyncedBatchNorm2d)
    assert list(network.state_dict()) == keys
    assert type(copy.deepcopy(norm)) is type(pickle.loads(pickle.dumps(norm))) is SyncedBatchNorm2d
    BatchNormSync().revert(network)
    assert type(network[1]) is nn.BatchNorm2d


def test_a_lone_process_normalizes_as_ever():
    joined, plain = BatchNormSync().apply(nn.BatchNorm2d(2)), nn.BatchNorm2d(2)
    images = torch.rand(2, 2, 3, 3)
    assert torch.equal(joined(images), plain(images))
    assert torch.equal(joined.running_var, plain.running_var)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm1d(2), nn.BatchNorm2d(2, momentum=None), nn.BatchNorm2d(2, affine=False)]
)
def test_norms_that_would_stay_apart_are_refused(norm):
    with pytest.raises(ValueError, match=r"1 is BatchNorm.*set trainer\.sync_batchnorm=false"):
        BatchNormSync().apply(nn.Sequential(nn.Identity(), norm))
