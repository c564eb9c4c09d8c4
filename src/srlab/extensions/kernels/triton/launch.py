"""Where the kernels run, which tensors they take, and how they are started."""

import importlib.util
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# Ampere: before it, no tensor-core products of bfloat16.
_LEAST_CAPABILITY = (8, 0)

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def why_unavailable(device: torch.device) -> str | None:
    """Why the kernels cannot run on ``device``; None if they can.

    On a CPU they run in Triton's interpreter only: TRITON_INTERPRET=1 must be set before triton is imported.
    Tensors on ``meta`` have shapes and need no kernels.
    """
    if device.type == "meta":
        return None
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed; it comes with PyTorch's CUDA builds for Linux"
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        return "on a CPU they run in Triton's interpreter only (TRITON_INTERPRET=1), which is for tests"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < _LEAST_CAPABILITY:
        found = ".".join(map(str, torch.cuda.get_device_capability(device)))
        return f"the GPU has compute capability {found}; the kernels need 8.0 (Ampere) or newer"
    return None


def require_kernels(device: torch.device) -> None:
    """A ValueError unless the kernels run on ``device``."""
    reason = why_unavailable(device)
    if reason is not None:
        raise ValueError(f"no Triton kernels on {device}: {reason}; use another backend, such as sdpa")


def autocast_together(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in autocast's dtype where autocast is on."""
    device_type = next(iter(tensors.values())).device.type
    # autocast does not support the meta device
    if device_type == "meta" or not torch.is_autocast_enabled(device_type):
        return dict(tensors)
    dtype = torch.get_autocast_dtype(device_type)
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def require_kernel_maps(maps: Mapping[str, Tensor]) -> None:
    """A ValueError unless the kernels read these maps (B, H, W, C), all like the first."""
    (first_name, first), *_ = maps.items()
    for name, tensor in maps.items():
        if tensor.ndim != 4 or 0 in tensor.shape:
            raise ValueError(f"{name} must be a map (B, H, W, C), not empty, got {tuple(tensor.shape)}")
        if tensor.dtype not in _DTYPES:
            raise ValueError(
                f"{name} is {tensor.dtype}; the kernels compute in float32, bfloat16 or float16: "
                "use backend sdpa"
            )
        if tensor.shape[-1] > 1 and tensor.stride(-1) != 1:
            raise ValueError(
                f"the channels of {name} are {tensor.stride(-1)} elements apart, strides {tensor.stride()}; "
                "they must lie side by side: channels_last memory, or contiguous()"
            )
        if (tensor.shape, tensor.dtype, tensor.device) != (first.shape, first.dtype, first.device):
            raise ValueError(
                f"{name} is {tensor.dtype} {tuple(tensor.shape)} on {tensor.device} and {first_name} "
                f"{first.dtype} {tuple(first.shape)} on {first.device}; they must be the same"
            )


def launch(kernel: Any, programs: int, *arguments: object, **constants: object) -> None:
    """Run a function under ``triton.jit`` on a one-dimensional grid, of any number of programs."""
    kernel[(programs,)](*arguments, **constants)


def product_precision() -> str:
    """How products of float32 are formed: ``ieee``, exactly, or ``tf32`` where PyTorch may."""
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"
