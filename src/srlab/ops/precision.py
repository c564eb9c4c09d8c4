"""Arithmetic in the dtype of the tensors, regardless of autocast."""

from contextlib import AbstractContextManager, nullcontext

import torch


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Disable autocast on ``device``; does nothing for a device without autocast, such as meta."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def without_float16_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Disable autocast to float16, for values beyond 65,504; autocast to bfloat16 stays on."""
    available = torch.amp.is_autocast_available(device.type)
    if available and torch.get_autocast_dtype(device.type) == torch.float16:
        return without_autocast(device)
    return nullcontext()
