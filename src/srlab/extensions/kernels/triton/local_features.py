"""ELAN's local feature extraction, its residual included, in one Triton kernel."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from srlab.extensions.kernels.triton.launch import (
    autocast_together,
    launch,
    product_precision,
    require_kernel_maps,
    require_kernels,
)
from srlab.ops.shift import move_channels

# The kernel holds all output channels of its pixels.
_WIDEST = 256
# Pixels of a tile.
_BLOCK = 64


def local_features(
    features: Tensor,
    expand_weight: Tensor,
    expand_bias: Tensor,
    contract_weight: Tensor,
    contract_bias: Tensor,
) -> Tensor:
    """X + W' shift(relu(W shift(x) + b)) + b' of a (B, H, W, C) map; the hidden map is not stored.

    Gradients compute the hidden map again.

    Args:
        features: (B, H, W, C), channels side by side, at most 256 of them.
        expand_weight: W, (N, C).
        expand_bias: b, (N,).
        contract_weight: W', (C, N).
        contract_bias: b', (C,).

    Returns:
        (B, H, W, C), contiguous, in the dtype of the features, or autocast's.

    Raises:
        ValueError: shapes, dtypes or devices do not fit.
    """
    features = autocast_together({"features": features})["features"]
    require_kernel_maps({"features": features})
    _check_weights(features, expand_weight, expand_bias, contract_weight, contract_bias)
    weights = [tensor.to(features.dtype).contiguous() for tensor in (expand_weight, contract_weight)]
    return _mix_locally(
        features, weights[0], expand_bias.contiguous(), weights[1], contract_bias.contiguous()
    )


def _check_weights(features: Tensor, *weights: Tensor) -> None:
    channels, hidden = features.shape[-1], len(weights[0])
    if channels > _WIDEST:
        raise ValueError(f"{channels} channels; the kernel takes {_WIDEST}: use backend sdpa")
    names = ("expand_weight", "expand_bias", "contract_weight", "contract_bias")
    shapes = ((hidden, channels), (hidden,), (channels, hidden), (channels,))
    for name, tensor, shape in zip(names, weights, shapes, strict=True):
        if tensor.shape != shape or tensor.device != features.device:
            raise ValueError(
                f"{name} is {tuple(tensor.shape)} on {tensor.device}, but {hidden} hidden channels and "
                f"features of {channels} channels need {shape} on {features.device}"
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
    import triton

    from srlab.extensions.kernels.triton.local_feature_kernels import Pixels, mix_locally
    from srlab.extensions.kernels.triton.placement import view_of

    (batch, height, width, channels), hidden = features.shape, len(expand_weight)
    result = features.new_empty(features.shape)
    source, target, outputs = view_of(features), view_of(result), max(16, triton.next_power_of_2(channels))
    # Without tensor cores a thread's share of a tile and of its products would not fit into registers.
    warps = 8 if features.dtype == torch.float32 and product_precision() == "ieee" else 4
    with torch.cuda.device_of(features):
        launch(
            mix_locally,
            triton.cdiv(batch * height * width, _BLOCK),
            source,
            *(expand_weight, expand_bias, contract_weight, contract_bias),
            target,
            Pixels(height, width, batch * height * width),
            INPUTS=channels,
            HIDDEN=hidden,
            BLOCK=_BLOCK,
            BLOCK_C=_least_waste(max(1, channels // 5)),
            BLOCK_H=_least_waste(max(1, hidden // 5)),
            BLOCK_O=outputs,
            ALIGNED=math.gcd(16, *source[1:], *target[1:]),
            PRECISION=product_precision(),
            num_warps=max(warps, outputs // 32),
        )
    return result


@_mix_locally.register_fake
def _(features: Tensor, *_weights: Tensor) -> Tensor:
    return features.new_empty(features.shape)


def _least_waste(channels: int) -> int:
    """The block, of 16 or 32, that channels fill best; the larger of equals."""
    return min((16, 32), key=lambda block: (-(-channels // block) * block, -block))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - PyTorch's signature
    ctx.save_for_backward(*inputs[:4])
    ctx.dtypes = [tensor.dtype for tensor in inputs]


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
    """By PyTorch's operators: a few products of matrices, and shifts in between."""
    features, expand_weight, expand_bias, contract_weight = ctx.saved_tensors
    shifted = _shift(features, 1)
    hidden = F.relu(F.linear(shifted, expand_weight) + expand_bias).to(features.dtype)
    to_hidden = torch.ops.aten.threshold_backward(_shift(gradient @ contract_weight, -1), hidden, 0)
    to_features = _shift(to_hidden @ expand_weight, -1) + gradient
    gradients = (
        to_features,
        _weight_gradient(to_hidden, shifted),
        to_hidden.sum((0, 1, 2), dtype=torch.float32),
        _weight_gradient(gradient, _shift(hidden, 1)),
        gradient.sum((0, 1, 2), dtype=torch.float32),
    )
    return tuple(tensor.to(dtype) for tensor, dtype in zip(gradients, ctx.dtypes, strict=True))


def _shift(pixels: Tensor, sign: int) -> Tensor:
    """(B, H, W, C) to the same, contiguous."""
    return move_channels(pixels.permute(0, 3, 1, 2), sign).permute(0, 2, 3, 1).contiguous()


def _weight_gradient(gradient: Tensor, inputs: Tensor) -> Tensor:
    """(O, C) from (B, H, W, O) and (B, H, W, C)."""
    return gradient.flatten(0, 2).T @ inputs.flatten(0, 2)


_mix_locally.register_autograd(_gradients, setup_context=_save)
