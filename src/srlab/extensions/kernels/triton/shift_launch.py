"""Launches the kernels of shift-convolutions with tiles that waste few of their channels."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from srlab.extensions.kernels.triton.launching import launch, parts_of, power_of_two, product_precision
from srlab.extensions.kernels.triton.local_feature_kernel import mix_locally as mix_locally_kernel
from srlab.extensions.kernels.triton.placement import view_of
from srlab.extensions.kernels.triton.shift_kernels import (
    Pixels,
    shift_mix,
    shift_mix_input_gradient,
    shift_mix_weight_gradient,
)

__all__ = ["input_gradient", "mix_locally", "mix_shifted", "weight_gradient"]

# Pixels of a tile.
_BLOCK = 64
# Programs that add up a weight's gradient: a few for each of a large GPU's 132 multiprocessors.
_SUMMING_PROGRAMS = 1024


def mix_shifted(
    features: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, relu: bool, result: Tensor
) -> None:
    """Write W shift(features) + bias + residual, (B, H, W, O); all maps with their channels side by side."""
    outputs, inputs = weight.shape
    block_o = _least_waste(outputs, (64, 128))
    programs = parts_of(_pixels(features).pixels, _BLOCK) * parts_of(outputs, block_o)
    stand_in = features if residual is None else residual
    launch(
        shift_mix,
        programs,
        view_of(features),
        weight,
        weight if bias is None else bias,
        view_of(stand_in),
        view_of(result),
        _pixels(features),
        BLOCK_O=block_o,
        BLOCK_C=_least_waste(max(1, inputs // 5), (16, 32)),
        BIASED=bias is not None,
        RESIDUAL=residual is not None,
        RELU=relu,
        **_specialised(weight, (features, stand_in, result)),
    )


def mix_locally(
    features: Tensor,
    expand: Tensor,
    expand_bias: Tensor,
    contract: Tensor,
    contract_bias: Tensor,
    result: Tensor,
) -> None:
    """Write features + W' shift(relu(W shift(features) + b)) + b'."""
    hidden, channels = expand.shape
    specialised = _specialised(expand, (features, result))
    block_o = max(16, power_of_two(channels))
    specialised["HIDDEN"] = specialised.pop("OUTPUTS")
    specialised["num_warps"] = max(specialised["num_warps"], block_o // 32)
    launch(
        mix_locally_kernel,
        parts_of(_pixels(features).pixels, _BLOCK),
        view_of(features),
        expand,
        expand_bias,
        contract,
        contract_bias,
        view_of(result),
        _pixels(features),
        BLOCK_O=block_o,
        BLOCK_C=_least_waste(max(1, channels // 5), (16, 32)),
        BLOCK_H=_least_waste(max(1, hidden // 5), (16, 32)),
        **specialised,
    )


def input_gradient(gradient: Tensor, weight: Tensor) -> Tensor:
    """Gradient of the features from that of the result before its ReLU."""
    outputs, inputs = weight.shape
    to_features = gradient.new_empty(*gradient.shape[:3], inputs)
    launch(
        shift_mix_input_gradient,
        parts_of(_pixels(gradient).pixels, _BLOCK),
        view_of(gradient),
        weight,
        view_of(to_features),
        _pixels(gradient),
        BLOCK_O=_least_waste(outputs, (32, 64)),
        BLOCK_C=_least_waste(max(1, inputs // 5), (16, 32)),
        **_specialised(weight, (gradient, to_features)),
    )
    return to_features


def weight_gradient(features: Tensor, gradient: Tensor) -> Tensor:
    """Gradient of the weight, (O, C) in float32, from that of the result before its ReLU."""
    inputs, outputs = features.shape[-1], gradient.shape[-1]
    block_c, block_o = _least_waste(max(1, inputs // 5), (16, 32)), _least_waste(outputs, (32, 64))
    tiles = parts_of(_pixels(features).pixels, _BLOCK)
    programs = 5 * parts_of(inputs - 4 * (inputs // 5), block_c) * parts_of(outputs, block_o)
    tiles_each = parts_of(tiles, min(tiles, parts_of(_SUMMING_PROGRAMS, programs)))
    parts = parts_of(tiles, tiles_each)
    sums = torch.empty(parts, outputs, inputs, dtype=torch.float32, device=features.device)
    launch(
        shift_mix_weight_gradient,
        parts * programs,
        view_of(features),
        view_of(gradient),
        sums,
        _pixels(features),
        BLOCK_O=block_o,
        BLOCK_C=block_c,
        TILES=tiles_each,
        **_specialised(sums[0], (features, gradient)),
    )
    return sums.sum(0)


def _pixels(feature_map: Tensor) -> Pixels:
    batch, height, width, _ = feature_map.shape
    return Pixels(height, width, batch * height * width)


def _least_waste(channels: int, blocks: Sequence[int]) -> int:
    """The block that channels fill best; the larger of equals."""
    return min(blocks, key=lambda block: (parts_of(channels, block) * block, -block))


def _specialised(weight: Tensor, maps: Sequence[Tensor]) -> dict[str, Any]:
    """Constants that all kernels are compiled for."""
    outputs, inputs = weight.shape
    numbers = [number for feature_map in maps for number in view_of(feature_map)[1:]]
    return {
        "INPUTS": inputs,
        "OUTPUTS": outputs,
        "BLOCK": _BLOCK,
        "ALIGNED": math.gcd(16, *numbers),
        "PRECISION": product_precision(),
        # Without tensor cores a thread's share of a tile and of its products would not fit into registers.
        "num_warps": 8 if maps[0].dtype == torch.float32 and product_precision() == "ieee" else 4,
    }
