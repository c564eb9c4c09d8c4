"""The CPU kernel against the same step by PyTorch's convolutions, in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from native_kernels import NEEDS_KERNELS
from srlab.extensions.kernels.cpu.local_features import local_features, pack_convolutions
from srlab.ops.shift import shift_channels_by_convolution

pytestmark = NEEDS_KERNELS


def convolution(outputs, inputs):
    return torch.randn(outputs, inputs, 1, 1) / inputs**0.5, torch.randn(outputs)


def explicit(features, attended, convolutions):
    """(features, projection) in float64."""
    mix, expand, contract, project = ([t.double() for t in pair] for pair in convolutions)
    features = features.double()
    if attended is not None:
        features = features + F.conv2d(attended.double(), *mix)
    hidden = F.relu(F.conv2d(shift_channels_by_convolution(features), *expand))
    features = features + F.conv2d(shift_channels_by_convolution(hidden), *contract)
    return features, F.conv2d(features, *project)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("mixes", [False, True])
@pytest.mark.parametrize("queries", [False, True])
@pytest.mark.parametrize(
    ("batch", "dim", "hidden", "height", "width"),
    [(1, 60, 120, 16, 16), (2, 12, 24, 17, 23), (1, 5, 5, 1, 1), (3, 7, 40, 3, 70), (1, 20, 40, 40, 2)],
)
def test_is_the_explicit_step(batch, dim, hidden, height, width, mixes, queries, threads):
    torch.manual_seed(0)
    features, value = torch.randn(2, batch, dim, height, width)
    query = torch.full_like(features, 7.0)
    convolutions = [
        convolution(dim, dim),
        convolution(hidden, dim),
        convolution(dim, hidden),
        convolution(dim * (2 if queries else 1), dim),
    ]
    expected, projected = explicit(features, value if mixes else None, convolutions)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        local_features(features, query, value, pack_convolutions(convolutions), hidden, mixes, queries)
    finally:
        torch.set_num_threads(before)
    got = torch.cat([query, value], dim=1) if queries else value
    assert_close(features.double(), expected, rtol=1e-5, atol=1e-5)
    assert_close(got.double(), projected, rtol=1e-5, atol=1e-5)
    if not queries:
        assert (query == 7.0).all()


def test_the_number_of_threads_changes_nothing():
    torch.manual_seed(0)
    maps = torch.randn(3, 1, 10, 33, 18)
    weights = pack_convolutions([convolution(n, k) for n, k in ((10, 10), (20, 10), (10, 20), (20, 10))])
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            features, query, value = maps.clone()
            local_features(features, query, value, weights, 20, True, True)
            results.append(torch.stack([features, query, value]))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda maps: [maps[0].double(), *maps[1:]],
            r"features must be .* got torch.float64",
        ),
        (
            lambda maps: [maps[0], maps[1].mT, maps[2]],
            r"query must be contiguous float32 of shape \(1, 10",
        ),
        (lambda maps: [*maps[:2], maps[2][:, :5]], r"value must be .* got torch.float32 \(1, 5, 6, 6\)"),
    ],
)
def test_maps_of_other_kinds_are_refused(change, message):
    maps = list(torch.randn(3, 1, 10, 6, 6))
    weights = pack_convolutions([convolution(10, 10)] * 4)
    with pytest.raises(ValueError, match=message):
        local_features(*change(maps), weights, 10, True, False)


def test_no_images_are_refused():
    weights = pack_convolutions([convolution(10, 10)] * 4)
    with pytest.raises(ValueError, match=r"not empty, got \(0, 10, 6, 6\)"):
        local_features(*torch.randn(3, 0, 10, 6, 6), weights, 10, True, False)


def test_weights_of_another_size_are_refused():
    weights = pack_convolutions([convolution(10, 10)] * 3)
    with pytest.raises(ValueError, match=r"weights must be \d+ float32 from pack_convolutions"):
        local_features(*torch.randn(3, 1, 10, 6, 6), weights, 10, True, False)
