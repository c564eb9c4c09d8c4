"""Window attention by Triton kernels against rolls, cut windows and maps in float64."""

import pytest
import torch
from torch.testing import assert_close

from srlab.extensions.kernels.triton import group_window_attention, window_attention
from srlab.extensions.kernels.triton.checks import autocast_together
from srlab.extensions.kernels.triton.launching import product_precision
from srlab.layers.position_bias import RelativePositionBias
from window_reference import reference_attention

# float32 sums of a few hundred terms in another order; atol in units of the largest value
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def gradients(function, inputs, direction):
    """Result and gradients of a function of the inputs."""
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    result = function(*inputs)
    return result.detach(), *torch.autograd.grad(result, inputs, direction.to(result))


def assert_same_function(ours, theirs, inputs, *, closeness=CLOSE):
    """Results and all gradients; theirs in float64."""
    inputs = list(inputs)
    direction = torch.randn_like(ours(*inputs))
    expected = gradients(theirs, [tensor.double() for tensor in inputs], direction)
    for found, wanted in zip(gradients(ours, inputs, direction), expected, strict=True):
        atol = closeness["atol"] * max(1.0, wanted.abs().max().item())
        assert_close(found.double(), wanted, rtol=closeness["rtol"], atol=atol)


def check(device, side, shift, *, heads, width, rows, columns, shared=False, biased=True, masked=True):
    """Queries, keys and values are slices of one map, as a projection leaves them; two images."""
    channels = heads * width
    maps = torch.randn(2, rows * side, columns * side, 3 * channels, device=device)
    bias = torch.randn(heads, side**2, side**2, device=device)
    constants = {"side": side, "shift": shift, "scale": 0.7, "masked": masked, "num_heads": heads}

    def attend(function, maps, bias):
        query, key, value = maps.chunk(3, dim=-1)
        key = query if shared else key
        return function(query, key, value, bias=bias if biased else None, **constants) + 0 * bias.sum()

    assert_same_function(
        lambda *inputs: attend(window_attention, *inputs),
        lambda *inputs: attend(reference_attention, *inputs),
        (maps, bias),
    )


@pytest.mark.parametrize(
    ("side", "shift", "heads", "width", "rows", "columns", "shared"),
    [
        (2, 0, 2, 5, 1, 2, False),
        (2, 1, 1, 4, 2, 1, True),
        (3, 2, 2, 20, 1, 1, False),
        (4, 2, 2, 10, 1, 2, True),
        (7, 3, 1, 30, 2, 1, False),
        (8, 4, 1, 10, 1, 1, True),
    ],
)
def test_windows_of_one_tile_with_bias_and_mask(device, side, shift, heads, width, rows, columns, shared):
    check(device, side, shift, heads=heads, width=width, rows=rows, columns=columns, shared=shared)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("side", "shift"), [(2, 1), (3, 1), (4, 0), (5, 3)])
def test_several_windows_in_one_tile(device, side, shift, dtype):
    """Without a bias small windows share tiles, of 64 tokens in 16 bits; 10 leave the last unfilled."""
    maps = torch.randint(-2, 3, (2, side, 5 * side, 3 * 6), device=device).to(dtype)

    def attend(function, maps):
        return function(*maps.chunk(3, dim=-1), side=side, shift=shift, masked=True)

    closeness = CLOSE if dtype == torch.float32 else {"rtol": 4e-3, "atol": 4e-3}
    assert_same_function(
        lambda maps: attend(window_attention, maps),
        lambda maps: attend(reference_attention, maps),
        (maps,),
        closeness=closeness,
    )


@pytest.mark.parametrize(("shared", "biased"), [(False, True), (True, False)])
def test_windows_of_several_tiles(device, shared, biased):
    """81 tokens: neither 32 nor 64 divides them."""
    check(device, 9, 4, heads=1, width=10, rows=1, columns=1, shared=shared, biased=biased)


@pytest.mark.slow
@pytest.mark.parametrize(("shared", "biased"), [(False, True), (True, False)])
@pytest.mark.parametrize(
    ("side", "shift", "heads", "width"), [(16, 8, 2, 20), (12, 5, 1, 64), (32, 0, 1, 16)]
)
def test_large_windows(device, side, shift, heads, width, shared, biased):
    check(device, side, shift, heads=heads, width=width, rows=1, columns=1, shared=shared, biased=biased)


@pytest.mark.parametrize("side", [16, pytest.param(32, marks=pytest.mark.slow)])
def test_large_windows_forward(device, side):
    query, value = torch.randn(2, 1, side, side, 10, device=device)
    expected = reference_attention(query.double(), query.double(), value.double(), side=side, shift=side // 2)
    assert_close(
        window_attention(query, query, value, side=side, shift=side // 2).double(), expected, **CLOSE
    )


@pytest.mark.parametrize(
    ("sides", "shifted", "height", "width"),
    [
        ((2, 4, 8), True, 8, 8),
        ((4, 4, 4), True, 4, 8),
        ((6, 3, 3), False, 6, 6),
        pytest.param((4, 8, 16), True, 16, 32, marks=pytest.mark.slow),
        pytest.param((8, 8, 8), True, 16, 16, marks=pytest.mark.slow),
    ],
)
def test_groups_have_windows_of_their_own(device, sides, shifted, height, width):
    """Oracle: one group after the other, and a concatenation."""
    maps = torch.randn(1, height, width, 2 * 30, device=device)

    def by_groups(maps):
        query, value = maps.chunk(2, dim=-1)
        groups = zip(sides, query.chunk(3, dim=-1), value.chunk(3, dim=-1), strict=True)
        parts = [
            reference_attention(q, q, v, side=side, shift=side // 2 if shifted else 0)
            for side, q, v in groups
        ]
        return torch.cat(parts, dim=-1)

    assert_same_function(
        lambda maps: group_window_attention(*maps.chunk(2, dim=-1), sides=sides, shifted=shifted),
        by_groups,
        (maps,),
    )


@pytest.mark.parametrize("side", [3, pytest.param(9, marks=pytest.mark.slow)])
def test_a_bias_by_distance_is_the_one_spread_over_all_pairs(device, side):
    """Oracle: the layer that spreads a table of distances, and autograd through it."""
    layer = RelativePositionBias(num_heads=2, side=side, std=1.0).to(device)
    maps = torch.randn(1, side, side, 3 * 8, device=device)
    constants = {"side": side, "num_heads": 2}

    def spread(maps, table):
        bias = torch.func.functional_call(layer, {"table": table}, ())
        return reference_attention(*maps.chunk(3, dim=-1), bias=bias, **constants)

    def by_distance(maps, table):
        distances = table.T.reshape(2, 2 * side - 1, 2 * side - 1)
        return window_attention(*maps.chunk(3, dim=-1), bias=distances, **constants)

    assert_same_function(by_distance, spread, (maps, layer.table.detach()))


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
        mixed = group_window_attention(query, value, sides=(4,), shifted=False)
    assert mixed.dtype == torch.bfloat16
    assert_close(mixed, plain, rtol=0, atol=0)


def test_the_compiler_sees_one_operation(device):
    maps = torch.randn(1, 8, 8, 24, device=device, requires_grad=True)
    bias = torch.randn(2, 16, 16, device=device, requires_grad=True)

    def attend(maps, bias):
        query, key, value = maps.chunk(3, dim=-1)
        return window_attention(query, key, value, side=4, shift=2, bias=bias, masked=True, num_heads=2) + 1

    compiled = torch.compile(
        attend, fullgraph=True, backend="aot_eager" if device.type == "cpu" else "inductor"
    )
    direction = torch.randn(1, 8, 8, 8, device=device)
    for ours, theirs in zip(
        gradients(compiled, [maps, bias], direction), gradients(attend, [maps, bias], direction), strict=True
    ):
        assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("side", "with_key", "with_bias"),
    [(4, True, True), (2, False, False), pytest.param(9, True, True, marks=pytest.mark.slow)],
)
def test_operation_is_registered_as_torch_demands(device, side, with_key, with_bias):
    maps = [torch.randn(1, side, side, 8, device=device, requires_grad=True) for _ in range(3)]
    bias = torch.randn(2, side**2, side**2, device=device, requires_grad=True) if with_bias else None
    arguments = (maps[0], maps[1] if with_key else None, maps[2], bias, [side] * 2, [1] * 2, 0.5, True, True)
    torch.library.opcheck(torch.ops.srlab.window_attention.default, arguments)


@pytest.mark.gpu
def test_a_cuda_graph_replays_it(device):
    query, value = torch.randn(2, 1, 32, 32, 60, device=device)
    attend = lambda: group_window_attention(query, value, sides=(4, 8, 16), shifted=True)  # noqa: E731
    attend()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        replayed = attend()
    query.normal_()
    graph.replay()
    assert_close(replayed, attend())


def test_shapes_are_known_without_a_device(device):
    query, value = torch.empty(2, 2, 16, 32, 60, device="meta")
    assert group_window_attention(query, value, sides=(4, 8, 16), shifted=True).shape == query.shape


def test_exact_products_unless_told_otherwise():
    assert product_precision() == "ieee"
    try:
        torch.set_float32_matmul_precision("high")
        assert product_precision() == "tf32"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_tensor_given_twice_is_cast_once():
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
    attempt("12 channels in 5 heads or groups: they must divide evenly", num_heads=5)
    attempt("num_heads must be at least 1, got 0", num_heads=0)
    attempt(r"bias is \(1, 4, 4\), but 1 heads in windows of side 4 need \(1, 16, 16\), or \(1, 7, 7\)",
            bias=query[..., 0, :4, :4].reshape(1, 4, 4))  # fmt: skip
    attempt(
        "value has shape .1, 8, 4, 12. and query .1, 8, 8, 12.; they must be the same", value=query[:, :, :4]
    )
    attempt("value has dtype torch.float16 and query torch.float32", value=query.half())
    attempt("value has device meta and query", value=query.to("meta"))
    double = query.double()
    attempt("query is torch.float64; .* use backend sdpa", query=double, key=double, value=double)
    planes = query.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    attempt("channels of query are 8 elements apart.*channels_last memory, or contiguous", query=planes)
    wide = torch.randn(1, 4, 4, 65, device=device)
    attempt("65 channels in 1 heads or groups: .* at most 64", query=wide, key=wide, value=wide)
    with pytest.raises(ValueError, match="sides is empty"):
        group_window_attention(query, query, sides=(), shifted=False)
