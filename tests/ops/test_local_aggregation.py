"""Adaptive filters: the two forms against recorded outputs, loops and each other."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from golden_files import golden_files, load_golden
from srlab.ops.local_aggregation import fused_local_aggregation, local_aggregation

FORMS = [local_aggregation, fused_local_aggregation]
DTYPES = [torch.float64, torch.float32]


def tensors(*, heads=2, width=3, side=3, size=(4, 5), dtype=torch.float64):
    torch.manual_seed(0)
    channels = heads * width
    values = torch.randn(2, channels, *size, dtype=dtype)
    weights = torch.randn(2, heads, side**2, *size, dtype=dtype)
    factor, offset = torch.randn(2, channels, side, side, dtype=dtype)
    return values, weights, factor, offset


@pytest.mark.parametrize("dtype", DTYPES, ids=["float64", "float32"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", golden_files("elsa/elsa_op.npz", beyond_selection=True))
def test_result_is_the_official_one(name, form, dtype):
    """The fixture folds its two heads into the batch."""
    arrays = load_golden(name).arrays
    values = arrays["features"].to(dtype).flatten(0, 1)[None]
    cases = [key.split("/") for key in arrays if key.endswith("/y")]
    assert len(cases) == 30
    for side, dilation, powers, _ in cases:
        lam, gamma = (float(part[3:]) for part in powers.split("_"))
        mul, add = (arrays[f"{side}/ghost_{kind}"].to(dtype).flatten(0, 1) for kind in ("mul", "add"))
        result = form(
            values,
            arrays[f"{side}/h_attn"].to(dtype)[None],
            factor=mul ** int(lam) if lam else None,
            offset=gamma * add if gamma else None,
            dilation=int(dilation[3:]),
        )
        expected = arrays["/".join((side, dilation, powers, "y"))]
        tolerance = 1e-12 if dtype == torch.float64 else 1e-5
        scale = expected.abs().max().item()
        assert_close(result[0], expected.flatten(0, 1).to(dtype), rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("form", FORMS)
def test_every_pixel_sums_its_neighbours_row_by_row(form, dilation):
    """Oracle: plain loops."""
    values, weights, factor, offset = tensors()
    result = form(values, weights, factor=factor, offset=offset, dilation=dilation)
    for channel, y, x in [(0, 0, 0), (2, 3, 4), (3, 1, 2), (5, 2, 0)]:
        total = 0.0
        for tap in range(9):
            row, column = y + (tap // 3 - 1) * dilation, x + (tap % 3 - 1) * dilation
            if 0 <= row < 4 and 0 <= column < 5:
                weight = weights[1, channel // 3, tap, y, x] * factor.flatten(1)[channel, tap]
                total += (weight + offset.flatten(1)[channel, tap]) * values[1, channel, row, column]
        assert_close(result[1, channel, y, x], total)


@pytest.mark.parametrize("form", FORMS)
def test_weights_that_are_the_same_everywhere_are_a_depthwise_convolution(form):
    values, weights, factor, _ = tensors(side=5)
    constant = weights[:1, :, :, :1, :1]
    kernel = constant.repeat_interleave(3, dim=1).view(6, 1, 5, 5) * factor[:, None]
    result = form(values, constant.expand_as(weights), factor=factor, dilation=2)
    assert_close(result, F.conv2d(values, kernel, padding=4, dilation=2, groups=6))


@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("has_offset", [False, True])
@pytest.mark.parametrize("has_factor", [False, True])
@pytest.mark.parametrize(("side", "size"), [(1, (2, 3)), (3, (4, 5)), (5, (1, 1)), (7, (3, 2))])
def test_both_forms_are_one_function_with_one_gradient(side, size, has_factor, has_offset, dilation):
    values, weights, factor, offset = tensors(side=side, size=size)
    leaves = [values, weights, *[factor] * has_factor, *[offset] * has_offset]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    ghost = {"factor": factor if has_factor else None, "offset": offset if has_offset else None}
    results = []
    for form in FORMS:
        output = form(values, weights, **ghost, dilation=dilation)
        slope = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
        results.append([output, *torch.autograd.grad((output * slope).sum(), leaves)])
    for reference, fused in zip(*results, strict=True):
        assert_close(fused, reference, rtol=1e-12, atol=1e-12)


def test_fused_gradients_are_the_numerical_ones():
    leaves = [leaf.requires_grad_() for leaf in tensors(width=2, size=(3, 2))]
    assert torch.autograd.gradcheck(
        lambda v, w, f, o: fused_local_aggregation(v, w, factor=f, offset=o, dilation=1), leaves
    )


class LargestTensor(TorchDispatchMode):
    """Watches all operations below autograd for the entries of their largest result."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.entries = max([self.entries, *(tensor.untyped_storage().nbytes() // 4 for tensor in tensors)])
        return result


@pytest.mark.parametrize("form", FORMS)
def test_only_the_reference_makes_a_tensor_for_all_channels_and_taps_at_once(form):
    values, weights, factor, offset = tensors(width=16, side=5, size=(8, 9), dtype=torch.float32)
    leaves = [leaf.requires_grad_() for leaf in (values, weights, factor, offset)]
    with LargestTensor() as watch:
        form(*leaves[:2], factor=factor, offset=offset).sum().backward()
    padded = 2 * 32 * (8 + 4) * (9 + 4)
    expected = values.numel() * 25 if form is local_aggregation else max(padded, weights.numel())
    assert watch.entries == expected


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_weights_and_values_may_differ(form):
    values, weights, factor, offset = tensors(side=7, size=(9, 9), dtype=torch.float32)
    expected = form(values, weights, factor=factor, offset=offset)
    result = form(values.bfloat16(), weights, factor=factor, offset=offset)
    assert result.dtype == torch.bfloat16
    assert_close(result.float(), expected, rtol=0, atol=0.02 * expected.abs().max().item())
