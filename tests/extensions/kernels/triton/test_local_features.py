"""Local features by a Triton kernel against two depth-wise shifts and 1x1 convolutions in float64."""

import pytest
import torch
import torch.nn.functional as F

from srlab.extensions.kernels.triton.local_features import local_features
from srlab.ops.shift import shift_channels_by_convolution


def shifted_convolution(features, weight, bias):
    shifted = shift_channels_by_convolution(features.permute(0, 3, 1, 2))
    return F.conv2d(shifted, weight[:, :, None, None], bias).permute(0, 2, 3, 1)


def step_by_step(features, expand, expand_bias, contract, contract_bias):
    hidden = shifted_convolution(features, expand, expand_bias).relu()
    return shifted_convolution(hidden, contract, contract_bias) + features


def gradients(function, inputs, direction):
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    result = function(*inputs)
    return result.detach(), *torch.autograd.grad(result, inputs, direction.to(result))


def random_weights(channels, hidden, device, dtype=torch.float32):
    return [
        (torch.randn(hidden, channels, device=device) / channels**0.5).to(dtype),
        torch.randn(hidden, device=device),
        (torch.randn(channels, hidden, device=device) / hidden**0.5).to(dtype),
        torch.randn(channels, device=device),
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("size", "channels", "hidden"),
    [((2, 5, 7), 12, 25), ((1, 3, 2), 60, 120), ((1, 1, 1), 4, 3), ((2, 1, 3), 23, 7)],
)
def test_results_and_gradients_are_those_of_two_convolutions_and_the_input(
    device, dtype, size, channels, hidden
):
    """A slice of a wider map; in 16 bits the hidden map is rounded, too, so that it keeps away from zero."""
    features = torch.randn(*size, channels + 4, device=device).to(dtype)[..., 4:]
    inputs = (features, *random_weights(channels, hidden, device, dtype))
    if dtype != torch.float32:
        inputs[2].copy_(5 * inputs[2].sign())
    direction = torch.randn_like(features)
    found = gradients(local_features, inputs, direction)
    wanted = gradients(step_by_step, [tensor.double() for tensor in inputs], direction)
    for ours, theirs in zip(found, wanted, strict=True):
        bound = 4 * max(torch.finfo(dtype).eps, 1e-6) * max(1.0, theirs.abs().max().item())
        assert (ours.double() - theirs).abs().max() <= bound


def test_pixels_outside_are_zero_on_every_side(device):
    """Oracle: by hand. Ones everywhere, each group passed on alone: zeros enter over the border it reads."""
    features, identity = torch.ones(1, 3, 3, 5, device=device), torch.eye(5, device=device)
    zeros = torch.zeros(5, device=device)
    result = local_features(features, identity, zeros, identity, zeros)[0] - 1
    expected = torch.ones(3, 3, 5, device=device)
    for channel, border in enumerate(((slice(None), slice(1, 3)), (slice(None), slice(0, 2)),
                                      (slice(1, 3), slice(None)), (slice(0, 2), slice(None)))):  # fmt: skip
        expected[(*border, channel)] = 0  # read from two pixels away, in two steps
    assert torch.equal(result, expected)


def test_autocast_decides_the_dtype(device):
    features, weights = torch.randn(1, 4, 4, 10, device=device), random_weights(10, 6, device)
    with torch.autocast(device.type, torch.bfloat16):
        mixed = local_features(features, *weights)
    plain = [tensor.bfloat16() if tensor.ndim == 2 else tensor for tensor in weights]
    assert torch.equal(mixed, local_features(features.bfloat16(), *plain))


def test_operation_is_registered_as_torch_demands(device):
    features = torch.randn(1, 3, 4, 10, device=device, requires_grad=True)
    weights = [tensor.requires_grad_() for tensor in random_weights(10, 15, device)]
    torch.library.opcheck(torch.ops.srlab.local_features.default, (features, *weights))


def test_what_does_not_fit_is_refused(device):
    features, weights = torch.randn(1, 3, 4, 10, device=device), random_weights(10, 15, device)

    def attempt(match, features=features, weights=weights):
        with pytest.raises(ValueError, match=match):
            local_features(features, *weights)

    attempt(
        r"contract_weight is \(10, 14\) .* need \(10, 15\)",
        weights=[*weights[:2], weights[2][:, :14], weights[3]],
    )
    attempt("expand_weight is .* on meta", weights=[weights[0].to("meta"), *weights[1:]])
    attempt("features is torch.float64; .* use backend sdpa", features=features.double())
    planes = torch.randn(1, 10, 4, 4, device=device).permute(0, 2, 3, 1)
    attempt("channels of features are 16 elements apart", features=planes)
    attempt(
        "257 channels; the kernel takes 256: use backend sdpa",
        features=torch.randn(1, 1, 1, 257, device=device),
    )
