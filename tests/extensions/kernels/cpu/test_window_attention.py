"""The CPU kernel against the explicit maps in float64, on maps of any layout."""

import pytest
import torch
from torch.testing import assert_close

from native_kernels import NEEDS_KERNELS
from srlab.extensions.kernels.cpu.window_attention import WindowGroup, attend_in_windows, window_attention
from srlab.layers.position_bias import RelativePositionBias
from window_reference import Bias, reference_attention

pytestmark = NEEDS_KERNELS


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def explicit(query, key, value, *, bias=None, **options):
    """In float64, step by step."""
    maps = (tensor.double() for tensor in (query, key, value))
    bias = None if bias is None else Bias(bias.by_distance.double())
    return reference_attention(*maps, bias=bias, **options)


def random_maps(batch, height, width, channels):
    torch.manual_seed(0)
    return [torch.randn(batch, height, width, channels) for _ in range(3)]


@pytest.mark.parametrize(
    ("side", "shift", "height", "width", "heads", "depth"),
    [
        (2, 1, 6, 4, 1, 3), (3, 1, 9, 6, 2, 5), (4, 2, 12, 20, 1, 20), (5, 2, 10, 15, 3, 23),
        (7, 3, 21, 14, 2, 8), (8, 4, 16, 24, 6, 10), (8, 0, 8, 8, 2, 31), (16, 8, 32, 48, 1, 20),
        (32, 16, 32, 64, 2, 16),
    ],
)  # fmt: skip
@pytest.mark.parametrize("masked", [False, True])
def test_is_explicit_attention(side, shift, height, width, heads, depth, masked):
    maps = random_maps(2, height, width, heads * depth)
    bias = Bias(torch.randn(heads, 2 * side - 1, 2 * side - 1))
    options = {"side": side, "shift": shift, "scale": depth**-0.5, "num_heads": heads, "masked": masked}
    assert_close(
        window_attention(*maps, bias=bias, **options).double(),
        explicit(*maps, bias=bias, **options),
        rtol=1e-5,
        atol=1e-5,
    )


def test_groups_of_channels_last_or_first_may_attend_in_place():
    query, _, value = random_maps(2, 32, 48, 12)
    expected = torch.cat(
        [
            explicit(query[..., part], query[..., part], value[..., part], side=side, shift=shift)
            for part, side, shift in (
                (slice(0, 4), 4, 2), (slice(4, 8), 8, 0), (slice(8, 12), 16, 8),
            )
        ],
        dim=-1,
    )  # fmt: skip
    groups = [
        WindowGroup(side, shift, *(3 * [first]), 1, 4)
        for side, shift, first in ((16, 8, 8), (8, 0, 4), (4, 2, 0))
    ]
    numbers = [number for group in groups for number in group]
    for memory_format in (torch.contiguous_format, torch.channels_last):
        q, v = (tensor.permute(0, 3, 1, 2).clone(memory_format=memory_format) for tensor in (query, value))
        attend_in_windows(q, q, v, v, numbers, None, 1.0, False)
        assert_close(v.permute(0, 2, 3, 1).double(), expected, rtol=2e-5, atol=2e-5)


def test_slices_of_wider_maps_are_read_where_they_lie():
    torch.manual_seed(0)
    wide = torch.randn(1, 8, 16, 18)
    query, key, value = wide.chunk(3, dim=-1)
    options = {"side": 8, "num_heads": 2, "scale": 0.5}
    assert_close(
        window_attention(query, key, value, **options).double(),
        explicit(query, key, value, **options),
        rtol=1e-5,
        atol=1e-5,
    )


def test_logits_of_a_million_neither_overflow_nor_leak():
    """Each token answers itself alone: its own square is the largest product by far."""
    value = torch.randn(1, 4, 4, 4)
    query = 1000 * torch.eye(16)[:, :16].reshape(1, 4, 4, 16)
    wide = torch.cat([value, torch.zeros(1, 4, 4, 12)], dim=-1)
    assert_close(window_attention(query, query, wide, side=4)[..., :4], value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FFFFFFF, 0x7FC00001, -1], ids=hex)
def test_what_is_not_a_number_spoils_its_own_window_alone(bits):
    """Whatever its payload: a GPU's own is 0x7fffffff."""
    query, _, value = random_maps(1, 8, 8, 4)
    query[0, 1, 1, 0] = torch.tensor(bits, dtype=torch.int32).view(torch.float32)
    mixed = window_attention(query, query, value, side=4)
    assert mixed[0, :4, :4].isnan().all()
    assert mixed[0, 4:].isfinite().all()
    assert mixed[0, :, 4:].isfinite().all()


def test_the_number_of_threads_changes_nothing():
    maps = random_maps(1, 24, 40, 6)
    results, threads = [], torch.get_num_threads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            results.append(window_attention(*maps, side=8, shift=4, num_heads=2, masked=True))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_a_changed_bias_is_packed_anew():
    maps, bias = random_maps(1, 8, 8, 4), RelativePositionBias(num_heads=1, side=4, std=1.0)
    before = window_attention(*maps, side=4, bias=bias)
    bias.table[24] = 50.0  # the distance of a token from itself
    after = window_attention(*maps, side=4, bias=bias)
    assert_close(after, maps[2])
    assert not torch.allclose(before, after)


def test_gradients_are_refused():
    query, key, value = random_maps(1, 8, 8, 4)
    value.requires_grad_()
    with torch.enable_grad(), pytest.raises(ValueError, match=r"but gradients are recorded; call eval"):
        window_attention(query, key, value, side=4)
    bias = RelativePositionBias(num_heads=1, side=4, std=1.0)
    with torch.enable_grad(), pytest.raises(ValueError, match=r"but gradients are recorded"):
        window_attention(query, key, value.detach(), side=4, bias=bias)


def test_a_key_that_shares_only_its_first_pixel_with_the_query_is_another_map():
    query, _, value = random_maps(1, 8, 8, 4)
    key = query.transpose(1, 2)
    assert_close(
        window_attention(query, key, value, side=4).double(),
        explicit(query, key, value, side=4),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("setting", [torch.float16, torch.float64])
def test_another_default_dtype_changes_nothing(setting):
    maps = random_maps(1, 8, 8, 4)
    expected = window_attention(*maps, side=4)
    torch.set_default_dtype(setting)
    try:
        assert torch.equal(window_attention(*maps, side=4), expected)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"side": 3}, r"8x8, not a multiple of the window side 3; pad it first"),
        ({"side": 0}, r"8x8, not a multiple of the window side 0"),
        ({"shift": 4}, r"windows of side 4 shift by 0 to 3 pixels, got 4"),
        ({"num_heads": 3}, r"4 channels cannot be divided equally among 3 heads"),
        ({"bias": Bias(torch.zeros(2, 7, 7))}, r"bias must be \(1, .* for 1 heads and S=4"),
    ],
)
def test_impossible_arguments_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        window_attention(*random_maps(1, 8, 8, 4), **{"side": 4, **changes})


@pytest.mark.parametrize(
    ("group", "bias", "message"),
    [
        (WindowGroup(4, 0, -2, -2, -2, 1, 4), None, r"does not fit a map of 4 channels"),
        (WindowGroup(4, 0, 2, 2, 2, 1, 4), None, r"does not fit"),
        (WindowGroup(4, 4, 0, 0, 0, 1, 4), None, r"shift by 0 to 3 pixels, got 4"),
        (WindowGroup(4, 0, 0, 0, 0, 1, 4), torch.zeros(1, 6, 6), r"S=4, got torch.float32 \(1, 6, 6\)"),
        (WindowGroup(4, 0, 0, 0, 0, 1, 4), torch.zeros(1, 16, 16).half(), r"got torch.float16"),
    ],
)
def test_the_operator_refuses_what_would_be_read_or_written_elsewhere(group, bias, message):
    maps = [tensor.permute(0, 3, 1, 2) for tensor in random_maps(1, 8, 8, 4)]
    with pytest.raises(ValueError, match=message):
        attend_in_windows(*maps, maps[2], list(group), bias, 1.0, False)


def test_other_dtypes_are_refused():
    maps = [tensor.double() for tensor in random_maps(1, 8, 8, 4)]
    with pytest.raises(ValueError, match=r"float32 maps .*, got torch.float64 .* backend sdpa or auto"):
        window_attention(*maps, side=4)
