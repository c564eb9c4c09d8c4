"""Starts kernels, and what their grids and tiles are computed with."""

from typing import Any

import torch

__all__ = ["launch", "parts_of", "power_of_two", "product_precision"]


def launch(kernel: Any, programs: int, *arguments: object, **constants: object) -> None:
    """Run a kernel of a one-dimensional grid, the only one that takes more than 65535 programs.

    Args:
        kernel: a function under ``triton.jit``.
        programs: size of the grid.
        arguments: what it reads and writes, in order.
        constants: what it is compiled for, and ``num_warps``.
    """
    kernel[(programs,)](*arguments, **constants)


def parts_of(count: int, size: int) -> int:
    """How many parts of ``size`` hold ``count``, the last of them perhaps not full."""
    return -(-count // size)


def power_of_two(count: int) -> int:
    """The least power of two that is at least ``count``."""
    return 1 << (count - 1).bit_length()


def product_precision() -> str:
    """How products of float32 are formed: ``ieee``, exactly, or ``tf32`` where PyTorch may."""
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"
