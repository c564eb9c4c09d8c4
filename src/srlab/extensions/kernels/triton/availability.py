"""Where the Triton kernels run, and why not elsewhere."""

import importlib.util
import os

import torch

__all__ = ["INTERPRETED", "require_kernels", "unavailable_reason"]

# Triton reads it once, when it is imported.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

# Ampere: before it, no tensor-core products of bfloat16.
_LEAST_CAPABILITY = (8, 0)


def unavailable_reason(device: torch.device) -> str | None:
    """Why the kernels cannot run on ``device``; None if they can.

    On a CPU they run in Triton's interpreter only, slowly, for tests: TRITON_INTERPRET=1 must stand in the
    environment before triton is imported. Tensors on ``meta`` have shapes and need no kernels.
    """
    if device.type == "meta":
        return None
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed; it comes with PyTorch's CUDA builds for Linux"
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability < _LEAST_CAPABILITY:
            return (
                f"the GPU has compute capability {capability[0]}.{capability[1]}; "
                f"the kernels need {_LEAST_CAPABILITY[0]}.{_LEAST_CAPABILITY[1]} (Ampere) or newer"
            )
        return None
    if device.type == "cpu" and INTERPRETED:
        return None
    if device.type == "cpu":
        return "on a CPU they run in Triton's interpreter only (TRITON_INTERPRET=1), which is for tests"
    return f"there are none for device type {device.type}"


def require_kernels(device: torch.device) -> None:
    """A ValueError unless the kernels run on ``device``."""
    reason = unavailable_reason(device)
    if reason is not None:
        raise ValueError(f"no Triton kernels on {device}: {reason}; use another backend, such as sdpa")
