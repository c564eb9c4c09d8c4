"""One step of ELAN on the CPU: what lies between two attentions, in one pass over the map.

Paper: Zhang et al., "Efficient Long-Range Attention Network for Image Super-Resolution", ECCV 2022,
sections 3.2 and 3.3 (arXiv 2203.06697).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from srlab.extensions.kernels.cpu.compiled import library


def pack_convolutions(convolutions: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Weights (N, K, 1, 1) and biases (N,) of 1x1 convolutions as one flat tensor for the kernels."""
    rows, parts = _packed_rows(), []
    for weight, bias in convolutions:
        surplus = -len(weight) % rows
        blocks = F.pad(weight.flatten(1), (0, 0, 0, surplus)).unflatten(0, (-1, rows))
        parts += [blocks.transpose(1, 2).flatten(), F.pad(bias, (0, surplus))]
    return torch.cat(parts).float()


@torch.library.custom_op(
    "srlab_native::local_features", mutates_args=("features", "query", "value"), device_types="cpu"
)
def local_features(
    features: Tensor, query: Tensor, value: Tensor, weights: Tensor, hidden: int, mixes: bool, queries: bool
) -> None:
    """In place: ``features += mix(value)``, ``features += LFE(features)``, then project to query and value.

    Args:
        features: (B, C, H, W), contiguous float32, as all maps.
        query: what the next attention compares; not written unless ``queries``.
        value: what the last attention gave; then what the next one averages.
        weights: the 1x1 convolutions mix (C to C), expand (C to hidden), contract (hidden to C) and project
            (C to 2 C, or to C without ``queries``), from :func:`pack_convolutions`.
        hidden: channels inside the local feature extraction.
        mixes: false before the first attention: ``value`` is not read.
        queries: project to both; false where a block reuses its query.
    """
    _check(features, query, value, weights, hidden, queries)
    batch, dim, height, width = features.shape
    sizes = (batch, dim, hidden, height, width, torch.get_num_threads())
    scratch = features.new_empty(library().local_features_scratch(*sizes))
    library().local_features(
        features.data_ptr(),
        query.data_ptr() if queries else None,
        value.data_ptr(),
        value.data_ptr() if mixes else None,
        weights.data_ptr(),
        scratch.data_ptr(),
        *sizes,
    )


@local_features.register_fake
def _(*_arguments: object) -> None:
    return None


@torch.compiler.assume_constant_result
def _packed_rows() -> int:
    return library().packed_rows()


def _check(
    features: Tensor, query: Tensor, value: Tensor, weights: Tensor, hidden: int, queries: bool
) -> None:
    if features.ndim != 4 or 0 in features.shape:
        raise ValueError(f"features must be maps (B, C, H, W), not empty, got {tuple(features.shape)}")
    for name, tensor in (("features", features), ("query", query), ("value", value)):
        if tensor.shape != features.shape or tensor.dtype != torch.float32 or not tensor.is_contiguous():
            raise ValueError(
                f"{name} must be contiguous float32 of shape {tuple(features.shape)}, got {tensor.dtype} "
                f"{tuple(tensor.shape)}, strides {tensor.stride()}; "
                "other dtypes and autocast have backend sdpa or auto"
            )
    dim, rows = features.shape[1], _packed_rows()
    shapes = ((dim, dim), (dim, hidden), (hidden, dim), (dim, 2 * dim if queries else dim))
    expected = sum((outputs + -outputs % rows) * (inputs + 1) for inputs, outputs in shapes)
    if weights.shape != (expected,) or weights.dtype != torch.float32 or not weights.is_contiguous():
        raise ValueError(
            f"weights must be {expected} float32 from pack_convolutions, got {tuple(weights.shape)}"
        )
