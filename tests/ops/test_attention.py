"""Attention against loops and recorded masks."""

import pytest
import torch
from torch.testing import assert_close

from golden_files import load_golden
from srlab.ops import attention
from srlab.ops.attention import (
    attention_maps,
    flex_attention,
    fused_attention,
    relative_position_index,
    shifted_window_mask,
    shifted_window_masks_by_row,
)

CPU = torch.device("cpu")


def test_maps_are_the_soft_maxed_scaled_products():
    """Oracle: exp and sums written out for every query."""
    query, key = torch.rand(2, 5, 3, dtype=torch.float64), torch.rand(2, 5, 3, dtype=torch.float64)
    bias = torch.rand(5, 5, dtype=torch.float64)
    maps = attention_maps(query, key, scale=0.5, bias=bias)
    for n in range(2):
        for i in range(5):
            weights = [(0.5 * query[n, i].dot(key[n, j]) + bias[i, j]).exp() for j in range(5)]
            assert_close(maps[n, i], torch.stack(weights) / sum(weights))


@pytest.mark.parametrize("channels", [3, 8, 10])
@pytest.mark.parametrize("with_bias", [True, False])
def test_fused_equals_maps_times_values(with_bias, channels):
    query, key, value = torch.rand(3, 4, 2, 9, channels, dtype=torch.float64).unbind()
    bias = torch.rand(2, 9, 9, dtype=torch.float64) if with_bias else None
    expected = attention_maps(query, key, scale=0.7, bias=bias) @ value
    assert_close(fused_attention(query, key, value, scale=0.7, bias=bias), expected)


def test_batches_beyond_a_launch_grid_are_cut(monkeypatch):
    query, key, value = torch.rand(3, 7, 2, 4, 3, dtype=torch.float64).unbind()
    bias = torch.rand(2, 4, 4, dtype=torch.float64)
    whole = fused_attention(query, key, value, bias=bias)
    monkeypatch.setattr(attention, "_LARGEST_GRID", 3)
    assert_close(fused_attention(query, key, value, bias=bias), whole)


@pytest.mark.slow  # compiles C++
@pytest.mark.parametrize("channels", [3, 10, 20])
@pytest.mark.parametrize("with_bias", [True, False])
def test_flex_equals_maps_times_values(with_bias, channels):
    torch.compiler.reset()  # each process may compile for a few shapes only
    query, key, value = torch.rand(3, 4, 2, 64, channels).unbind()
    bias = torch.rand(2, 64, 64) if with_bias else None
    expected = attention_maps(query, key, scale=0.7, bias=bias) @ value
    with torch.no_grad():
        assert_close(flex_attention(query, key, value, scale=0.7, bias=bias), expected)


@pytest.mark.slow  # compiles C++
def test_flex_serves_more_shapes_than_the_compilers_limit():
    torch.compiler.reset()
    with torch.no_grad(), torch._dynamo.config.patch(recompile_limit=1):
        for windows in (1, 2, 3):
            query, key, value = torch.rand(3, windows, 2, 64, 16).unbind()
            assert_close(flex_attention(query, key, value), attention_maps(query, key) @ value)


def test_flex_refuses_what_it_cannot_do():
    tokens = torch.rand(1, 1, 64, 4)
    with pytest.raises(ValueError, match="flex has no gradients on a CPU; train with backend sdpa"):
        flex_attention(tokens.clone().requires_grad_(), tokens, tokens)
    with pytest.raises(ValueError, match="use sdpa for float64"):
        flex_attention(tokens.double(), tokens.double(), tokens.double())
    with pytest.raises(ValueError, match="at least 16 tokens, got 9; use sdpa"):
        flex_attention(*3 * [tokens[:, :, :9]])


def test_position_index_and_mask_are_the_official_ones():
    golden = load_golden("swinir/blocks.npz")
    index = relative_position_index(8, CPU)
    assert_close(index, golden.arrays["relative_position_index_w8"].long(), rtol=0, atol=0)
    mask = shifted_window_mask(16, 24, 8, 4, CPU, torch.float32)
    assert_close(mask.flatten(0, 1), golden.arrays["mask_16x24"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("height", "width", "side", "shift"), [(12, 8, 4, 2), (4, 4, 4, 2), (15, 10, 5, 2), (9, 12, 3, 1)]
)
def test_masks_by_row_say_what_the_masks_of_all_windows_say(height, width, side, shift):
    full = shifted_window_mask(height, width, side, shift, CPU, torch.float32)
    usual, last = shifted_window_masks_by_row(width, side, shift, CPU, torch.float32)
    for row in full[:-1]:
        assert_close(row, usual, rtol=0, atol=0)
    assert_close(full[-1], last, rtol=0, atol=0)


def test_masks_separate_exactly_what_the_roll_has_brought_together():
    """Oracle: number the pixels, roll, and ask whether two tokens were less than a window apart."""
    height, width, side, shift = 12, 8, 4, 2
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    rows, columns = (torch.roll(axis, (-shift, -shift), (0, 1)) for axis in (rows, columns))
    mask = shifted_window_mask(height, width, side, shift, CPU, torch.float32)
    for top in range(0, height, side):
        for left in range(0, width, side):
            window = (slice(top, top + side), slice(left, left + side))
            y, x = rows[window].flatten(), columns[window].flatten()
            near = ((y[:, None] - y).abs() < side) & ((x[:, None] - x).abs() < side)
            assert_close(mask[top // side, left // side] == 0, near)


def test_a_mask_is_made_once_and_serves_training_after_inference():
    with torch.inference_mode():
        first = shifted_window_mask(20, 20, 4, 2, CPU, torch.float32)
    assert shifted_window_mask(20, 20, 4, 2, CPU, torch.float32) is first
    assert not first.is_inference()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_of_16_bit_queries_are_float32_even_on_meta(dtype):
    """A million is beyond float16, and bfloat16 cannot tell 1000000 from 1002000."""
    query = torch.tensor([[1000.0, 0.0], [1000.0, 2.0]], dtype=dtype)
    maps = attention_maps(query, query)
    expected = torch.softmax(query.double() @ query.double().T, dim=-1)
    assert maps.dtype == dtype
    torch.testing.assert_close(maps.double(), expected, rtol=1e-2, atol=1e-2)
    assert attention_maps(query.to("meta"), query.to("meta")).shape == (2, 2)
