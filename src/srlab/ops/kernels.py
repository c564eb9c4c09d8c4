"""How a module finds the kernel that runs one of its operators, and what each operator computes.

``window_attention``: :class:`WindowAttention`, of SwinIR and ESC.

``elan_block(block, features)``: what :class:`srlab.models.elan.ElanBlock` computes, (B, C, H, W) to the same.

``elan_body(blocks, features)``: what all blocks of an ELAN compute one after the other, likewise.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from srlab.ops.backends import kernel_of, kernels_of

__all__ = ["PositionBias", "WindowAttention", "find_kernel", "require_kernels"]


class PositionBias(Protocol):
    """Where a kernel gets the bias of the logits from, in the form that it reads."""

    def prepared(self, form: str, prepare: Callable[[Tensor], Tensor]) -> Tensor:
        """``prepare`` of the (M, 2S - 1, 2S - 1) bias by distance, query minus key, smallest first.

        In evaluation the result is kept until the bias changes; ``form`` names it.
        """
        ...


class WindowAttention(Protocol):
    """softmax(scale * q k^T + bias) v inside windows of whole maps, for each head."""

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        side: int,
        shift: int = 0,
        scale: float = 1.0,
        bias: PositionBias | None = None,
        masked: bool = False,
        num_heads: int = 1,
    ) -> Tensor:
        """Attend.

        Args:
            query: (B, H, W, C), slices of wider maps among them; head m has the channels from m * C / M on.
            key: the same, or ``query`` itself.
            value: the same.
            side: side S of the windows, which must divide H and W.
            shift: pixels by which the windows are moved down and right, cyclically, from 0 to S - 1.
            scale: of the logits, without the bias.
            bias: added to the logits.
            masked: add -100 between tokens that only the shift made neighbours (SwinIR).
            num_heads: heads M.

        Returns:
            (B, H, W, C), contiguous.

        Raises:
            ValueError: shapes, dtypes or devices do not fit, or gradients are recorded and there are none.
        """
        ...


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
        kernel = kernel_of(*key)
        if kernel is None:
            return False
        _FUNCTIONS[key] = kernel.load()
    return True


@torch.compiler.assume_constant_result
def require_kernels(operators: Sequence[str], backend: str, device: torch.device) -> None:
    """A ValueError unless ``backend`` has a kernel for one of the operators on this type of device."""
    types = sorted({kernel.device_type for kernel in kernels_of(operators, backend)})
    if device.type not in types:
        raise ValueError(
            f"backend {backend} has kernels for {', '.join(types)}, not for {device.type}; "
            "use backend auto or sdpa"
        )
