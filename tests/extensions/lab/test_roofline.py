import pytest
import torch
import torch.nn.functional as F
from torch import nn

import srlab
from srlab.extensions.lab.bottleneck import bottlenecks
from srlab.extensions.lab.ceilings import Ceilings, best_of
from srlab.extensions.lab.latency import Spread
from srlab.extensions.lab.measurement import Memory
from srlab.extensions.lab.record import Figures
from srlab.extensions.lab.roofline import Needs, fewest_needs, layer_bytes, roofline
from srlab.extensions.lab.sizes import lr_sizes_of_outputs, padded_size, parse_sides
from srlab.models.network import Network


class Chain(Network):
    """Convolution, view, addition in place, product of two maps, nearest neighbour."""

    size_multiple = 4

    def __init__(self):
        super().__init__(scale=2)
        self.layer = nn.Conv2d(3, 3, 3, padding=1)

    def restore(self, lr_image):
        features = self.layer(lr_image)
        features.view(-1).add_(1.0)
        return F.interpolate(features * lr_image, scale_factor=2)


def test_each_operator_reads_its_arguments_and_writes_its_results_once():
    image, weights = 3 * 6 * 10, 3 * 3 * 9 + 3
    convolution, in_place, product, enlargement = 2 * image + weights, 2 * image, 3 * image, image + 4 * image
    elements = convolution + in_place + product + enlargement
    assert layer_bytes(Chain(), (6, 10), torch.float32, None) == 4 * elements
    assert layer_bytes(Chain(), (6, 10), torch.bfloat16, None) == 2 * elements


def test_needs_of_a_convolution_in_closed_form():
    needs = fewest_needs(Chain(), (6, 10), torch.float32)
    assert needs.multiply_adds == 6 * 10 * 3 * 3 * 9
    assert needs.compulsory_bytes == 4 * (3 * 3 * 9 + 3 + 3 * 60 + 3 * 240)
    assert needs.multiply_adds_of is needs.layer_bytes_of is None


def test_fused_attention_moves_less_than_stored_maps():
    """Maps (m, T, T) are written by the product, read and written by the soft-max, and read again."""
    network = srlab.create_model("swinir_light", scale=4, depths=[2], num_heads=[6])
    reference, fused = (layer_bytes(network, (64, 64), torch.float32, name) for name in ("reference", "sdpa"))
    maps = 2 * 6 * 64 * (64 * 64) * 4  # blocks, heads, windows, T * T, bytes
    assert reference - fused >= 4 * maps
    assert fewest_needs(network, (64, 64), torch.float32).layer_bytes == fused


CEILINGS = Ceilings("float32", copy_gb_per_s=10, copied_mib=1, matrix_gflop_per_s=100, matrix_side=8)


@pytest.mark.parametrize(
    ("layer_bytes", "least_layer_ms", "limited_by"),
    [(50 * 10**6, 20.0, "operations"), (500 * 10**6, 50.0, "bytes")],
)
def test_the_least_time_is_the_larger_of_operations_and_bytes(layer_bytes, least_layer_ms, limited_by):
    needs = Needs(10**9, None, 10**6, layer_bytes, None)
    found = roofline(model="m", needs=needs, batch=1, ceilings=CEILINGS, median_ms={"a": 100.0})
    assert found.least_ms == pytest.approx(2 * 1e9 / 100e9 * 1e3)
    assert found.least_layer_ms == pytest.approx(least_layer_ms)
    assert found.limited_by == limited_by
    assert found.times_the_least["a"] == pytest.approx(5)
    assert found.times_the_layer_least["a"] == pytest.approx(100 / least_layer_ms)


def test_needs_grow_with_the_batch():
    needs = Needs(10**9, None, 10**6, 10**6, None)
    single, four = (
        roofline(model="m", needs=needs, batch=batch, ceilings=CEILINGS, median_ms={}) for batch in (1, 4)
    )
    assert four.least_ms == pytest.approx(4 * single.least_ms)


def test_the_better_of_two_ceilings_counts_rate_by_rate():
    second = Ceilings("float32", copy_gb_per_s=8, copied_mib=1, matrix_gflop_per_s=120, matrix_side=16)
    assert best_of(CEILINGS, second) == Ceilings("float32", 10, 1, 120, 16)


def test_sizes():
    assert padded_size(Chain(), (5, 8)) == (8, 8)
    assert lr_sizes_of_outputs([(1280, 720), (1000, 10)], 3) == [(240, 427), (4, 334)]
    assert parse_sides("size", "180x320", "") == (180, 320)


@pytest.mark.parametrize("value", ["180", "0x5", "5x0", "axb", "5x", "-1x5", 16, "1.5x2", "3x4x5"])
def test_what_is_no_size_is_refused(value):
    with pytest.raises(ValueError, match=rf"size must be like 1x2, both sides at least 1, got {value}"):
        parse_sides("size", value, "1x2")


def step(label: str, images_per_second: float | None) -> Figures:
    return Figures(
        label=label, model=label, backend=None, resolved_backend=None, dtype="float32", compile="eager",
        mask="cached", checkpointing=False, subnormals="flushed", padded_size=(1, 1), rounds=1,
            time_ms=Spread(1, 1, 1),
        speedup=None, images_per_second=images_per_second, megapixels_per_second=None, memory=Memory(),
        joules_per_image=None, multiply_adds=None, multiply_adds_of=None,
        gflop_per_second=None, share_of_matrix_rate=None,
    )  # fmt: skip


def test_the_slower_of_loader_and_network_is_the_bottleneck():
    rates = {0: 1400.0, 2: 2800.0}
    assert bottlenecks(rates, [step("slow", 12.0), step("b", 28000.0), step("unknown", None)]) == [
        "loader 2,800 crops/s (2 workers), network 12 crops/s (slow): the network is the bottleneck (233 x)",
        "loader 2,800 crops/s (2 workers), network 28,000 crops/s (b): the loader is the bottleneck (10 x)",
    ]
