"""Tensors that the kernels take."""

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["autocast_together", "channels_together", "require_kernel_map", "require_same"]

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def autocast_together(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in autocast's dtype where autocast is on; a tensor given twice stays one."""
    device_type = next(iter(tensors.values())).device.type
    # autocast knows no meta device
    if device_type == "meta" or not torch.is_autocast_enabled(device_type):
        return dict(tensors)
    dtype = torch.get_autocast_dtype(device_type)
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def channels_together(tensor: Tensor) -> Tensor:
    """The tensor itself if its last axis lies together in memory, else a copy that does.

    Gradients come in any layout: that of a sum is one value, expanded.
    """
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def require_kernel_map(name: str, tensor: Tensor) -> None:
    """A ValueError unless the kernels read (B, H, W, C) of this dtype and layout."""
    if tensor.ndim != 4 or 0 in tensor.shape:
        raise ValueError(f"{name} must be a map (B, H, W, C), not empty, got {tuple(tensor.shape)}")
    if tensor.dtype not in _DTYPES:
        raise ValueError(
            f"{name} is {tensor.dtype}; the kernels compute in float32, bfloat16 or float16: use backend sdpa"
        )
    if tensor.shape[-1] > 1 and tensor.stride(-1) != 1:
        raise ValueError(
            f"the channels of {name} are {tensor.stride(-1)} elements apart, strides {tensor.stride()}; "
            "they must lie side by side: channels_last memory, or contiguous()"
        )


def require_same(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    """A ValueError unless both have the same shape, dtype and device."""
    for property_name in ("shape", "dtype", "device"):
        ours, theirs = getattr(tensor, property_name), getattr(other, property_name)
        if ours != theirs:
            raise ValueError(
                f"{name} has {property_name} {_plain(ours)} and {other_name} {_plain(theirs)}; "
                "they must be the same"
            )


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, torch.Size) else value
