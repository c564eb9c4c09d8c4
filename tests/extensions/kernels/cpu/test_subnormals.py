"""The CPU kernels flush subnormal numbers in every thread of theirs, and leave the mode as they found it."""

import pytest
import torch

import srlab
from native_kernels import NEEDS_KERNELS
from srlab.extensions.kernels.cpu.local_features import local_features, pack_convolutions
from srlab.extensions.kernels.cpu.window_attention import window_attention
from subnormal_probe import ELEMENTS, halves_kept

pytestmark = NEEDS_KERNELS

SUBNORMAL = torch.finfo(torch.float32).tiny / 2
THREADS = 2


@pytest.fixture(autouse=True)
def two_threads_without_gradients():
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    with torch.inference_mode():
        yield
    torch.set_num_threads(before)


def attend() -> torch.Tensor:
    """Equal logits, so that the attention averages equal values, all of them subnormal."""
    zeros = torch.zeros(1, 32, 32, 8)
    return window_attention(zeros, zeros, torch.full_like(zeros, SUBNORMAL), side=4)


def add_local_features() -> torch.Tensor:
    """All weights are zero, so that the step adds zeros to features that are all subnormal."""
    features = torch.full((1, 8, 32, 32), SUBNORMAL)
    shapes = ((8, 8), (16, 8), (8, 16), (16, 8))
    weights = pack_convolutions([(torch.zeros(*shape, 1, 1), torch.zeros(shape[0])) for shape in shapes])
    local_features(features, torch.zeros_like(features), torch.zeros_like(features), weights, 16, False, True)
    return features


@pytest.mark.parametrize("kernel", [attend, add_local_features])
@pytest.mark.parametrize("flushed", [False, True])
def test_kernels_flush_in_all_threads_and_restore_the_mode(kernel, flushed):
    with srlab.flush_subnormals(flushed):
        kept = halves_kept()
        assert kept == (0 if flushed else ELEMENTS)
        assert kernel().count_nonzero() == 0
        assert halves_kept() == kept
