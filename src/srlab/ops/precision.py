"""Arithmetic in the dtype of the tensors, whatever autocast asks for."""

from contextlib import AbstractContextManager, nullcontext

import torch

__all__ = ["without_autocast", "without_float16_autocast"]


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """No autocast on ``device`` inside; a device that has none, such as meta, needs nothing."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def without_float16_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Autocast to float16 is off inside, for values beyond 65,504; to bfloat16 it stays on."""
    available = torch.amp.is_autocast_available(device.type)
    if available and torch.get_autocast_dtype(device.type) == torch.float16:
        return without_autocast(device)
    return nullcontext()
