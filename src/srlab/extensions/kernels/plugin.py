"""Registers back end ``fused``: C++ kernels for a CPU, Triton kernels for NVIDIA GPUs."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from srlab.ops.backends import Kernel, register_kernel

if TYPE_CHECKING:
    import torch

# Triton reads it when it is imported, and interprets the kernels on a CPU, slowly: for tests.
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def _why_no_cpu_kernels(_device: torch.device) -> str | None:
    from srlab.extensions.kernels.cpu.compiled import why_unavailable

    return why_unavailable()


def _why_no_triton_kernels(device: torch.device) -> str | None:
    from srlab.extensions.kernels.triton.launch import why_unavailable

    return why_unavailable(device)


def _function(module: str, name: str) -> Callable[[], Callable[..., Any]]:
    return lambda: getattr(import_module(f"srlab.extensions.kernels.{module}"), name)


def _register_cpu_kernels() -> None:
    for operator, module, has_gradients in (
        ("window_attention", "cpu.window_attention", False),
        ("elan_block", "cpu.elan", True),
        ("elan_body", "cpu.elan", True),
    ):
        load = _function(module, operator)
        register_kernel(
            Kernel(operator, "fused", "cpu", load, _why_no_cpu_kernels, has_gradients, automatic=True)
        )


def _register_triton_kernels(device_type: str) -> None:
    for operator, module in (("window_attention", "triton.attention"), ("elan_block", "triton.elan")):
        load, why = _function(module, operator), _why_no_triton_kernels
        # not automatic before a GPU has shown them to be faster (docs/speed.md)
        register_kernel(
            Kernel(operator, "fused", device_type, load, why, has_gradients=True, automatic=False)
        )


for _device_type in ("cuda", "meta", *(["cpu"] if _INTERPRETED else [])):
    _register_triton_kernels(_device_type)
if not _INTERPRETED:
    _register_cpu_kernels()
