"""Back ends that extensions bring: kernels for some operators of the networks, under a name for ``backend=``.

``reference``, ``sdpa`` and the like are written in PyTorch's operators and belong to the networks. A back end of
kernels is added by new files alone:

1. A package in ``srlab/extensions`` holds functions with the signature of an operator, see
   :mod:`srlab.ops.kernels`. It need not have all operators: PyTorch runs the others.
2. Its ``plugin.py`` calls :func:`register_kernel` for each of them. Neither may import torch or compile
   anything yet: ``load`` does that when the kernel first runs.
3. ``backend=NAME`` then works for every network that has one of the operators, and is an error on devices
   without any of its kernels. With ``automatic=True`` backend ``auto`` takes it where it can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srlab.extension_points import Registry

if TYPE_CHECKING:
    import torch

__all__ = ["Kernel", "automatic_kernel", "kernel_backends", "kernel_of", "kernels_of", "register_kernel"]


@dataclass(frozen=True)
class Kernel:
    """An implementation of an operator for one type of device.

    Args:
        operator: one of those in :mod:`srlab.ops.kernels`.
        backend: its name in ``backend=``.
        device_type: ``cpu``, ``cuda``, …
        load: returns the function.
        why_unavailable: why it cannot run on a device of this type; None if it can. It may compile.
        has_gradients: False: for inference in float32 alone.
        automatic: whether ``auto`` chooses it, for inference in float32; set it once it was measured to be faster.
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
    """Offer a kernel to all networks.

    Raises:
        ValueError: there is another one for this operator, back end and type of device.
    """
    _KERNELS.register(_name(kernel.operator, kernel.backend, kernel.device_type), kernel)


def kernel_of(operator: str, backend: str, device_type: str) -> Kernel | None:
    """The kernel that was registered for these; None if there is none."""
    return _KERNELS.get(_name(operator, backend, device_type))


def kernels_of(operators: Sequence[str], backend: str | None = None) -> list[Kernel]:
    """All kernels for any of these operators, of one back end or of all."""
    return [each for each in _KERNELS if each.operator in operators and backend in (None, each.backend)]


def kernel_backends(operators: Sequence[str]) -> tuple[str, ...]:
    """Names of the back ends that have a kernel for any of these operators."""
    return tuple(dict.fromkeys(kernel.backend for kernel in kernels_of(operators)))


def automatic_kernel(operators: Sequence[str], device_type: str) -> Kernel | None:
    """The first kernel for any of these operators that ``auto`` may choose there."""
    found = (each for each in kernels_of(operators) if each.automatic and each.device_type == device_type)
    return next(found, None)


def _name(operator: str, backend: str, device_type: str) -> str:
    return f"{operator} of backend {backend} for {device_type}"
