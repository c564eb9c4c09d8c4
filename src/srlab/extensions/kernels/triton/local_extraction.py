"""ELAN's local feature extraction, its residual included, in one Triton kernel."""

from typing import Any

import torch
from torch import Tensor

from srlab.extensions.kernels.triton.availability import require_kernels
from srlab.extensions.kernels.triton.checks import autocast_together, channels_together, require_kernel_map

__all__ = ["local_features"]

# The kernel holds all output channels of its pixels.
_WIDEST = 256


def local_features(
    features: Tensor,
    expand_weight: Tensor,
    expand_bias: Tensor,
    contract_weight: Tensor,
    contract_bias: Tensor,
) -> Tensor:
    """X + W' shift(relu(W shift(x) + b)) + b' of a (B, H, W, C) map; no hidden map reaches memory.

    Its gradients compute the hidden map again, from the features alone.

    Args:
        features: (B, H, W, C), channels side by side, at most 256 of them.
        expand_weight: W, (N, C).
        expand_bias: b, (N,).
        contract_weight: W', (C, N).
        contract_bias: b', (C,).

    Returns:
        (B, H, W, C) in the layout of the shape and the dtype of the features, or autocast's.

    Raises:
        ValueError: shapes, dtypes or devices do not fit.
    """
    features = autocast_together({"features": features})["features"]
    require_kernel_map("features", features)
    channels, hidden = features.shape[-1], len(expand_weight)
    if channels > _WIDEST:
        raise ValueError(f"{channels} channels; the kernel takes {_WIDEST}: use shift_convolution twice")
    shapes = {
        "expand_weight": (expand_weight, (hidden, channels)),
        "expand_bias": (expand_bias, (hidden,)),
        "contract_weight": (contract_weight, (channels, hidden)),
        "contract_bias": (contract_bias, (channels,)),
    }
    for name, (tensor, shape) in shapes.items():
        if tensor.shape != shape or tensor.device != features.device:
            raise ValueError(
                f"{name} is {tuple(tensor.shape)} on {tensor.device}, but {hidden} hidden channels and "
                f"features of {channels} channels need {shape} on {features.device}"
            )
    weights = (weight.to(features.dtype).contiguous() for weight in (expand_weight, contract_weight))
    expand_weight, contract_weight = weights
    return _mix_locally(
        features, expand_weight, expand_bias.contiguous(), contract_weight, contract_bias.contiguous()
    )


@torch.library.custom_op("srlab::local_features", mutates_args=())
def _mix_locally(
    features: Tensor,
    expand_weight: Tensor,
    expand_bias: Tensor,
    contract_weight: Tensor,
    contract_bias: Tensor,
) -> Tensor:
    require_kernels(features.device)
    from srlab.extensions.kernels.triton.shift_launch import mix_locally

    result = features.new_empty(features.shape)
    with torch.cuda.device_of(features):
        mix_locally(features, expand_weight, expand_bias, contract_weight, contract_bias, result)
    return result


@_mix_locally.register_fake
def _(features: Tensor, *_weights: Tensor) -> Tensor:
    return features.new_empty(features.shape)


@torch.library.custom_op("srlab::local_features_gradients", mutates_args=())
def _backward(
    gradient: Tensor, features: Tensor, expand_weight: Tensor, expand_bias: Tensor, contract_weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of features, and of weights and biases in order, those in float32."""
    from srlab.extensions.kernels.triton.shift_launch import input_gradient, mix_shifted, weight_gradient

    gradient = channels_together(gradient)
    hidden = features.new_empty(*features.shape[:3], len(expand_weight))
    with torch.cuda.device_of(features):
        mix_shifted(features, expand_weight, expand_bias, None, True, hidden)
        to_contract = weight_gradient(hidden, gradient)
        to_hidden = input_gradient(gradient, contract_weight)
        to_hidden = torch.ops.aten.threshold_backward(to_hidden, hidden, 0)
        to_features = input_gradient(to_hidden, expand_weight).add_(gradient)
        to_expand = weight_gradient(features, to_hidden)
    sums = (tensor.sum((0, 1, 2), dtype=torch.float32) for tensor in (to_hidden, gradient))
    to_expand_bias, to_contract_bias = sums
    return to_features, to_expand, to_expand_bias, to_contract, to_contract_bias


@_backward.register_fake
def _(
    _gradient: Tensor, features: Tensor, expand_weight: Tensor, expand_bias: Tensor, contract_weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    shapes = (expand_weight.shape, expand_bias.shape, contract_weight.shape, contract_weight.shape[:1])
    weights = [features.new_empty(shape, dtype=torch.float32) for shape in shapes]
    return features.new_empty(features.shape), weights[0], weights[1], weights[2], weights[3]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - PyTorch's signature
    ctx.save_for_backward(*inputs[:4])
    ctx.dtypes = [tensor.dtype for tensor in inputs]


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
    gradients = _backward(gradient, *ctx.saved_tensors)
    return tuple(tensor.to(dtype) for tensor, dtype in zip(gradients, ctx.dtypes, strict=True))


_mix_locally.register_autograd(_gradients, setup_context=_remember)
