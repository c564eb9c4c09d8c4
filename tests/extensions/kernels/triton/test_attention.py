"""Window attention by Triton kernels against rolls, cut windows and maps in float64."""

import pytest
import torch
from torch.testing import assert_close

from srlab.extensions.kernels.triton.attention import window_attention
from srlab.extensions.kernels.triton.launch import autocast_together, product_precision
from window_reference import Bias, reference_attention

# float32 sums of a few hundred terms in another order; atol in units of the largest value
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def gradients(function, inputs, direction):
    """Result and gradients of a function of the inputs."""
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    result = function(*inputs)
    return result.detach(), *torch.autograd.grad(result, inputs, direction.to(result))


def assert_same_function(attend, inputs, *, closeness=CLOSE):
    """Results and all gradients of ``attend(function, *inputs)``; those of the reference in float64."""
    direction = torch.randn_like(attend(window_attention, *inputs))
    found = gradients(lambda *tensors: attend(window_attention, *tensors), inputs, direction)
    exact = [tensor.double() for tensor in inputs]
    wanted = gradients(lambda *tensors: attend(reference_attention, *tensors), exact, direction)
    for ours, theirs in zip(found, wanted, strict=True):
        atol = closeness["atol"] * max(1.0, theirs.abs().max().item())
        assert_close(ours.double(), theirs, rtol=closeness["rtol"], atol=atol)


@pytest.mark.parametrize(
    ("side", "shift", "heads", "width", "rows", "columns", "shared", "biased"),
    [
        (2, 0, 2, 5, 1, 2, False, True),
        (2, 1, 1, 4, 2, 1, True, True),
        (3, 2, 2, 20, 1, 1, False, True),
        (4, 2, 2, 10, 1, 2, True, True),
        (7, 3, 1, 30, 2, 1, False, True),
        (8, 4, 1, 10, 1, 1, True, True),
        (5, 3, 1, 6, 1, 5, False, False),
        # several tiles; neither 32 nor 64 divides 81 tokens
        (9, 4, 1, 10, 1, 1, False, True),
        (9, 4, 1, 10, 1, 1, True, False),
        pytest.param(16, 8, 2, 20, 1, 1, False, True, marks=pytest.mark.slow),
        pytest.param(12, 5, 1, 64, 1, 1, True, False, marks=pytest.mark.slow),
    ],
)
def test_results_and_gradients_are_those_of_the_explicit_maps(
    device, side, shift, heads, width, rows, columns, shared, biased
):
    """Queries, keys and values are slices of one map, as a projection leaves them; two images."""
    maps = torch.randn(2, rows * side, columns * side, 3 * heads * width, device=device)
    distances = torch.randn(heads, 2 * side - 1, 2 * side - 1, device=device)
    constants = {"side": side, "shift": shift, "scale": 0.7, "masked": True, "num_heads": heads}

    def attend(function, maps, distances):
        query, key, value = maps.chunk(3, dim=-1)
        key, bias = query if shared else key, Bias(distances) if biased else None
        return function(query, key, value, bias=bias, **constants) + 0 * distances.sum()

    assert_same_function(attend, (maps, distances))


@pytest.mark.parametrize("side", [16, pytest.param(32, marks=pytest.mark.slow)])
def test_large_windows_forward(device, side):
    query, value = torch.randn(2, 1, side, side, 10, device=device)
    expected = reference_attention(query.double(), query.double(), value.double(), side=side, shift=side // 2)
    assert_close(
        window_attention(query, query, value, side=side, shift=side // 2).double(), expected, **CLOSE
    )


@pytest.mark.parametrize("side", [4, 9])
def test_views_cut_out_of_a_wider_map_are_read_in_place(device, side):
    wide = torch.randn(2, side + 3, side + 2, 40, device=device)
    crop = wide[:, 1 : 1 + side, 2 : 2 + side]

    def attend(function, crop):
        return function(crop[..., 1:8], crop[..., 9:16], crop[..., 33:40], side=side)

    expected = attend(reference_attention, crop.double())
    assert_close(attend(window_attention, crop).double(), expected, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("side", [4, 9])
def test_16_bits_round_no_more_than_inputs_weights_and_results(device, dtype, side):
    """Against float64 on the same rounded inputs, in units of the last place of the largest value."""
    maps = torch.randn(1, 2 * side, side, 30, device=device).to(dtype)

    def attend(function, maps):
        return function(*maps.chunk(3, dim=-1), side=side, shift=1, scale=0.5, masked=True)

    direction = torch.randn(1, 2 * side, side, 10, device=device).to(dtype)
    found = gradients(lambda maps: attend(window_attention, maps), [maps], direction)
    wanted = gradients(lambda maps: attend(reference_attention, maps), [maps.double()], direction)
    assert all(tensor.dtype == dtype for tensor in found)
    for ours, theirs in zip(found, wanted, strict=True):
        bound = 2 * torch.finfo(dtype).eps * theirs.abs().max()
        assert (ours.double() - theirs).abs().max() <= bound


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("side", [4, 9])
def test_logits_of_a_million_are_soft_maxed_exactly(device, dtype, side):
    """ELAN's are unscaled. Whole numbers, so that float32 holds every logit exactly: up to 20 * 220**2."""
    query = torch.randint(-220, 221, (1, side, side, 20), device=device).to(dtype)
    value = torch.randn(1, side, side, 20, device=device).to(dtype)
    direction = torch.randn_like(value)
    assert (query.double() ** 2).sum(-1).max() > 3e5
    found = gradients(lambda q, v: window_attention(q, q, v, side=side), [query, value], direction)
    wanted = gradients(
        lambda q, v: reference_attention(q, q, v, side=side), [query.double(), value.double()], direction
    )
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.isfinite().all()
        # differences of weights that cancel, times queries of up to 220 and gradients of up to 5
        rounding = 8 * torch.finfo(torch.float32).eps * 220 * 5
        assert_close(ours.double(), theirs, rtol=1e-4 if dtype == torch.float32 else 1e-2, atol=rounding)


def test_autocast_decides_the_dtype(device):
    query, value = torch.randn(2, 1, 4, 4, 8, device=device)
    plain = window_attention(query.bfloat16(), query.bfloat16(), value.bfloat16(), side=4)
    with torch.autocast(device.type, torch.bfloat16):
        mixed = window_attention(query, query, value, side=4)
    assert mixed.dtype == torch.bfloat16
    assert_close(mixed, plain, rtol=0, atol=0)


def test_the_compiler_sees_one_operation(device):
    maps = torch.randn(1, 8, 8, 24, device=device, requires_grad=True)
    distances = torch.randn(2, 7, 7, device=device, requires_grad=True)
    constants = {"side": 4, "shift": 2, "masked": True, "num_heads": 2}

    def attend(maps, distances):
        return window_attention(*maps.chunk(3, dim=-1), bias=Bias(distances), **constants) + 1

    backend = "aot_eager" if device.type == "cpu" else "inductor"
    compiled = torch.compile(attend, fullgraph=True, backend=backend)
    direction = torch.randn(1, 8, 8, 8, device=device)
    found, wanted = (gradients(each, [maps, distances], direction) for each in (compiled, attend))
    for ours, theirs in zip(found, wanted, strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("side", "with_key", "with_bias"),
    [(4, True, True), (2, False, False), pytest.param(9, True, True, marks=pytest.mark.slow)],
)
def test_operation_is_registered_as_torch_demands(device, side, with_key, with_bias):
    maps = [torch.randn(1, side, side, 8, device=device, requires_grad=True) for _ in range(3)]
    distances = torch.randn(2, 2 * side - 1, 2 * side - 1, device=device, requires_grad=True)
    inputs = (maps[0], maps[1] if with_key else None, maps[2], distances if with_bias else None)
    torch.library.opcheck(torch.ops.srlab.window_attention.default, (*inputs, side, 1, 0.5, True, 2, True))


@pytest.mark.gpu
def test_a_cuda_graph_replays_it(device):
    query, value = torch.randn(2, 1, 32, 32, 60, device=device)
    attend = lambda: window_attention(query, query, value, side=8, shift=4, num_heads=2)  # noqa: E731
    attend()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        replayed = attend()
    query.normal_()
    graph.replay()
    assert_close(replayed, attend())


def test_shapes_are_known_without_a_device():
    query, value = torch.empty(2, 2, 16, 32, 60, device="meta")
    assert window_attention(query, query, value, side=8).shape == query.shape


def test_exact_products_unless_told_otherwise():
    assert product_precision() == "ieee"
    try:
        torch.set_float32_matmul_precision("high")
        assert product_precision() == "tf32"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_autocast_applies_to_all_maps():
    query = torch.randn(1, 2, 2, 4)
    with torch.autocast("cpu", torch.bfloat16):
        maps = autocast_together({"query": query, "value": query})
    assert maps["query"].dtype == maps["value"].dtype == torch.bfloat16


def test_what_does_not_fit_is_refused(device):
    query = torch.randn(1, 8, 8, 12, device=device)

    def attempt(match, query=query, key=query, value=query, **constants):
        with pytest.raises(ValueError, match=match):
            window_attention(query, key, value, **{"side": 4, **constants})

    attempt("8x8, not a multiple of the window side 3; pad it first", side=3)
    attempt("side 4 shift by 0 to 3 pixels, got 4", shift=4)
    attempt("12 channels cannot be divided equally among 5 heads", num_heads=5)
    attempt("12 channels cannot be divided equally among 0 heads", num_heads=0)
    attempt(
        r"bias is \(1, 4, 4\), but 1 heads in windows of side 4 need \(1, 7, 7\)",
        bias=Bias(torch.zeros(1, 4, 4, device=device)),
    )
    attempt(
        r"value is torch.float32 \(1, 8, 4, 12\) on .* and query torch.float32 \(1, 8, 8, 12\)",
        value=query[:, :, :4],
    )
    attempt("value is torch.float16 .* and query torch.float32", value=query.half())
    attempt("value is .* on meta and query", value=query.to("meta"))
    double = query.double()
    attempt("query is torch.float64; .* use backend sdpa", query=double, key=double, value=double)
    planes = query.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    attempt("channels of query are 8 elements apart.*channels_last memory, or contiguous", query=planes)
    wide = torch.randn(1, 4, 4, 65, device=device)
    attempt("65 channels in 1 heads: .* at most 64", query=wide, key=wide, value=wide)
