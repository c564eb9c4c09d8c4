"""Back ends that extensions add: kernels for some operators of the networks, under a name for ``backend=``.

``reference``, ``sdpa`` and the like are written in PyTorch's operators and belong to the networks. To add a
back end of kernels, add files only:

1. A package in ``srlab/extensions`` with a function for each operator that it implements. Their signatures
   are in :mod:`srlab.ops.kernels`. PyTorch runs the operators that the back end leaves out.
2. Its ``plugin.py``, which calls :func:`register_kernel` for each function. It must not import torch or
   compile anything: ``load`` does that when the kernel first runs.

``backend=NAME`` then works for every network that uses one of the operators, and is an error on devices that
none of its kernels supports. With ``automatic=True``, ``backend=auto`` chooses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srlab.extension_points import Registry

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Kernel:
    """An implementation of an operator for one type of device.

    Args:
        operator: one of those in :mod:`srlab.ops.kernels`.
        backend: its name in ``backend=``.
        device_type: ``cpu``, ``cuda``, …
        load: returns the function.
        why_unavailable: the reason why it cannot run on a device of this type, or None. It may compile.
        has_gradients: whether it can train; otherwise it is for inference in float32 only.
        automatic: whether ``auto`` chooses it in float32, for training too if it has gradients: after it was
            measured to be faster.
    """

    operator: str
    backend: str
    device_type: str
    load: Callable[[], Callable[..., Any]]
    why_unavailable: Callable[[torch.device], str | None]
    has_gradients: bool
    automatic: bool


_KERNELS: Registry[Kernel] = Registry("kernel")


def register_kernel(kernel: Kernel) -> None:
    """Add a kernel; there can be one for each operator, back end and type of device."""
    _KERNELS.register(f"{kernel.operator} of backend {kernel.backend} on {kernel.device_type}", kernel)


def kernels_for(
    operators: Sequence[str], backend: str | None = None, device_type: str | None = None
) -> list[Kernel]:
    """All kernels for any of these operators; of one back end and type of device, or of all."""
    return [
        kernel
        for kernel in _KERNELS
        if kernel.operator in operators
        and backend in (None, kernel.backend)
        and device_type in (None, kernel.device_type)
    ]
