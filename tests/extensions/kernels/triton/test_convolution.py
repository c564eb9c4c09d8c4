"""Shift-convolutions by Triton kernels against a depth-wise convolution with a fixed kernel, in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from srlab.extensions.kernels.triton import local_features, shift_convolution
from srlab.ops.shift import shift_channels_by_convolution


def reference(features, weight, bias, residual, relu):
    shifted = shift_channels_by_convolution(features.permute(0, 3, 1, 2))
    mixed = F.conv2d(shifted, weight[:, :, None, None], bias).permute(0, 2, 3, 1)
    mixed = mixed if residual is None else mixed + residual
    return mixed.relu() if relu else mixed


def gradients(function, inputs, direction):
    inputs = [None if tensor is None else tensor.detach().requires_grad_() for tensor in inputs]
    result = function(*inputs)
    wanted = [tensor for tensor in inputs if tensor is not None]
    return result.detach(), *torch.autograd.grad(result, wanted, direction.to(result))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("size", "channels", "outputs", "biased", "relu", "residual"),
    [
        ((2, 5, 7), 60, 120, True, True, False),
        ((1, 9, 8), 120, 60, True, False, True),
        ((2, 1, 3), 23, 7, False, True, True),
        ((1, 3, 2), 4, 5, True, False, False),
    ],
)
def test_it_is_shift_and_1x1_convolution(device, dtype, size, channels, outputs, biased, relu, residual):
    """The bound: products and sums in float32, inputs and results rounded to the dtype."""
    wide = torch.randn(*size, channels + 4, device=device)
    features = wide.to(dtype)[..., 4:]
    weight = (torch.randn(outputs, channels, device=device) / channels**0.5).to(dtype)
    bias = torch.randn(outputs, device=device) if biased else None
    extra = torch.randn(*size, outputs, device=device).to(dtype) if residual else None
    inputs = (features, weight, bias, extra)
    direction = torch.randn(*size, outputs, device=device).to(dtype)
    found = gradients(lambda x, w, b, r: shift_convolution(x, w, b, relu=relu, residual=r), inputs, direction)
    exact = [None if tensor is None else tensor.double() for tensor in inputs]
    wanted = gradients(lambda *tensors: reference(*tensors, relu), exact, direction)
    for ours, theirs in zip(found, wanted, strict=True):
        bound = max(torch.finfo(dtype).eps, 2e-6) * max(1.0, theirs.abs().max().item())
        assert (ours.double() - theirs).abs().max() <= bound


def test_pixels_outside_are_zero_on_every_side(device):
    """Oracle: by hand. Ones everywhere, each group summed alone: only the border that it reads over is 0."""
    features = torch.ones(1, 3, 3, 5, device=device)
    result = shift_convolution(features, torch.eye(5, device=device), None)[0]
    for channel, (row, column) in enumerate([(1, 2), (1, 0), (2, 1), (0, 1)]):
        assert result[..., channel].sum() == 6
        assert result[row, column, channel] == 0
    assert (result[..., 4] == 1).all()


def test_autocast_decides_the_dtype(device):
    features, weight = torch.randn(1, 4, 4, 10, device=device), torch.randn(6, 10, device=device)
    with torch.autocast(device.type, torch.bfloat16):
        mixed = shift_convolution(features, weight, None)
    assert_close(mixed, shift_convolution(features.bfloat16(), weight.bfloat16(), None), rtol=0, atol=0)


@pytest.mark.parametrize("residual", [False, True])
def test_operation_is_registered_as_torch_demands(device, residual):
    features = torch.randn(1, 3, 4, 10, device=device, requires_grad=True)
    weight = torch.randn(6, 10, device=device, requires_grad=True)
    extra = torch.randn(1, 3, 4, 6, device=device, requires_grad=True) if residual else None
    arguments = (features, weight, torch.randn(6, device=device, requires_grad=True), extra, True)
    torch.library.opcheck(torch.ops.srlab.shift_convolution.default, arguments)


def test_what_does_not_fit_is_refused(device):
    features, weight = torch.randn(1, 4, 4, 10, device=device), torch.randn(6, 10, device=device)

    def attempt(match, features=features, weight=weight, bias=None, residual=None):
        with pytest.raises(ValueError, match=match):
            shift_convolution(features, weight, bias, residual=residual)

    attempt(r"weight is \(6, 9\), but features of 10 channels need \(O, 10\)", weight=weight[:, :9])
    attempt(r"bias is \(5,\), but a weight of 6 rows needs that many", bias=weight[:5, 0])
    attempt(r"residual has shape \(1, 4, 4, 10\) and the result \(1, 4, 4, 6\)", residual=features)
    attempt("features is torch.float64; .* use backend sdpa", features=features.double())
    attempt(
        "channels of features are 16 elements apart",
        features=torch.randn(1, 10, 4, 4, device=device).permute(0, 2, 3, 1),
    )
    attempt("weight is on meta and features on", weight=weight.to("meta"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("size", "channels", "hidden"),
    [((2, 5, 7), 12, 25), ((1, 3, 2), 60, 120), ((1, 1, 1), 4, 3)],
)
def test_local_features_are_two_convolutions_and_the_input(device, dtype, size, channels, hidden):
    """Oracle in float64; in 16 bits the hidden map is rounded, too."""
    weights = (
        (torch.randn(hidden, channels, device=device) / channels**0.5).to(dtype),
        torch.randn(hidden, device=device),
        (torch.randn(channels, hidden, device=device) / hidden**0.5).to(dtype),
        torch.randn(channels, device=device),
    )
    features = torch.randn(*size, channels, device=device).to(dtype)
    direction = torch.randn_like(features)

    def step_by_step(x, w1, b1, w2, b2):
        return reference(reference(x, w1, b1, None, True), w2, b2, x, False)

    found = gradients(local_features, (features, *weights), direction)
    wanted = gradients(step_by_step, [tensor.double() for tensor in (features, *weights)], direction)
    for ours, theirs in zip(found, wanted, strict=True):
        bound = 4 * max(torch.finfo(dtype).eps, 1e-6) * max(1.0, theirs.abs().max().item())
        assert (ours.double() - theirs).abs().max() <= bound


def test_local_features_are_registered_and_refuse_what_does_not_fit(device):
    features = torch.randn(1, 3, 4, 10, device=device, requires_grad=True)
    shapes = ((15, 10), (15,), (10, 15), (10,))
    weights = [torch.randn(shape, device=device, requires_grad=True) for shape in shapes]
    torch.library.opcheck(torch.ops.srlab.local_features.default, (features, *weights))
    with pytest.raises(ValueError, match=r"contract_weight is \(10, 14\) .* need \(10, 15\)"):
        local_features(features, weights[0], weights[1], weights[2][:, :14], weights[3])
    wide = torch.randn(1, 1, 1, 257, device=device)
    with pytest.raises(ValueError, match="257 channels; the kernel takes 256: use shift_convolution twice"):
        local_features(wide, *weights)
