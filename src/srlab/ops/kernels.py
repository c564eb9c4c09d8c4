"""How a module finds the kernel that runs one of its operators, and what the operators are.

``window_attention(query, key, value, *, side, shift, scale, bias, masked, num_heads)``
    softmax(scale * q k^T + bias) v inside windows, for each head, of SwinIR and ESC. Maps are (B, H, W, C),
    perhaps slices of wider maps; the key may be the query itself; head m of M has the channels from m * C / M
    on. Windows of ``side`` pixels, which divides H and W, are moved down and right by ``shift`` pixels,
    cyclically. ``bias`` is a :class:`srlab.layers.position_bias.RelativePositionBias` or None. ``masked``
    adds -100 between tokens that only the shift made neighbours. Returns a contiguous map.
``elan_block(block, features)``
    What :class:`srlab.models.elan.ElanBlock` computes: (B, C, H, W) to the same shape.
``elan_body(blocks, features)``
    All blocks of an ELAN one after another, likewise.

A kernel raises ValueError where shapes, dtypes or devices do not fit, or where it has no gradients and they
are recorded.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from srlab.ops.backends import kernels_for


def find_kernel(operator: str, backend: str, device: torch.device) -> Callable[..., Any] | None:
    """The function that runs ``operator`` on ``device``; None if this back end leaves it to PyTorch."""
    return _FUNCTIONS[operator, backend, device.type] if _load(operator, backend, device.type) else None


# A dictionary, because torch.compile can neither trace imports nor take a function for a constant.
_FUNCTIONS: dict[tuple[str, str, str], Callable[..., Any]] = {}


@torch.compiler.assume_constant_result
def _load(operator: str, backend: str, device_type: str) -> bool:
    """Whether there is such a kernel."""
    key = (operator, backend, device_type)
    if key not in _FUNCTIONS:
        for kernel in kernels_for([operator], backend, device_type):
            _FUNCTIONS[key] = kernel.load()
    return key in _FUNCTIONS


@torch.compiler.assume_constant_result
def require_kernels(operators: Sequence[str], backend: str, device: torch.device) -> None:
    """A ValueError unless ``backend`` has a kernel for one of the operators on this type of device."""
    types = {kernel.device_type for kernel in kernels_for(operators, backend)}
    if device.type not in types:
        raise ValueError(
            f"backend {backend} has kernels for {', '.join(sorted(types))}, not for {device.type}; "
            "use backend auto or sdpa"
        )
