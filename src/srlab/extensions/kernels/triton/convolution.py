"""Shift-convolutions of (B, H, W, C) maps by Triton kernels: nothing is shifted in memory.

They run in the dtype of the features, or in autocast's; sums are float32. They can be compiled and captured
in CUDA graphs, and differentiated once.
"""

from typing import Any

import torch
from torch import Tensor

from srlab.extensions.kernels.triton.availability import require_kernels
from srlab.extensions.kernels.triton.checks import (
    autocast_together,
    channels_together,
    require_kernel_map,
    require_same,
)

__all__ = ["shift_convolution"]


def shift_convolution(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    relu: bool = False,
    residual: Tensor | None = None,
) -> Tensor:
    """W shift(features) + bias + residual, then a ReLU if asked for.

    Args:
        features: (B, H, W, C), channels side by side; the shift is :func:`srlab.ops.shift.shift_channels`.
        weight: (O, C).
        bias: (O,) or None.
        relu: cut negative values off, last of all.
        residual: (B, H, W, O) or None.

    Returns:
        (B, H, W, O) in the layout of the shape.

    Raises:
        ValueError: shapes, dtypes or devices do not fit.
    """
    maps = {"features": features} if residual is None else {"features": features, "residual": residual}
    maps = autocast_together(maps)
    features, residual = maps["features"], maps.get("residual")
    for name, tensor in maps.items():
        require_kernel_map(name, tensor)
    _check_weight(features, weight, bias)
    weight, bias = weight.to(features.dtype).contiguous(), None if bias is None else bias.contiguous()
    if residual is not None:
        require_same("residual", residual, "the result", features[..., :1].expand(-1, -1, -1, len(weight)))
    return _mix(features, weight, bias, residual, relu)


def _check_weight(features: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    channels = features.shape[-1]
    if weight.ndim != 2 or weight.shape[1] != channels or 0 in weight.shape:
        raise ValueError(
            f"weight is {tuple(weight.shape)}, but features of {channels} channels need (O, {channels})"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias is {tuple(bias.shape)}, but a weight of {len(weight)} rows needs that many")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.device != features.device:
            raise ValueError(
                f"{name} is on {tensor.device} and features on {features.device}; move them together"
            )


@torch.library.custom_op("srlab::shift_convolution", mutates_args=())
def _mix(
    features: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, relu: bool
) -> Tensor:
    require_kernels(features.device)
    from srlab.extensions.kernels.triton.shift_launch import mix_shifted

    result = features.new_empty(*features.shape[:3], len(weight))
    with torch.cuda.device_of(features):
        mix_shifted(features, weight, bias, residual, relu, result)
    return result


@_mix.register_fake
def _(features: Tensor, weight: Tensor, *_others: Any) -> Tensor:
    return features.new_empty(*features.shape[:3], len(weight))


@torch.library.custom_op("srlab::shift_convolution_gradients", mutates_args=())
def _mix_backward(gradient: Tensor, features: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of features and weight from that of the result before its ReLU."""
    from srlab.extensions.kernels.triton.shift_launch import input_gradient, weight_gradient

    gradient = channels_together(gradient)
    with torch.cuda.device_of(features):
        return input_gradient(gradient, weight), weight_gradient(features, gradient).to(weight.dtype)


@_mix_backward.register_fake
def _(gradient: Tensor, features: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return gradient.new_empty(features.shape), torch.empty_like(weight)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, weight, bias, _residual, relu = inputs
    ctx.save_for_backward(features, weight, output if relu else None)
    ctx.bias_dtype = None if bias is None else bias.dtype


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    features, weight, result = ctx.saved_tensors
    if result is not None:
        gradient = torch.ops.aten.threshold_backward(gradient, result, 0)
    to_bias = None
    if ctx.needs_input_grad[2]:
        to_bias = gradient.sum((0, 1, 2), dtype=torch.float32).to(ctx.bias_dtype)
    to_features, to_weight = _mix_backward(gradient, features, weight)
    return to_features, to_weight, to_bias, gradient if ctx.needs_input_grad[3] else None, None


_mix.register_autograd(_gradients, setup_context=_remember)
