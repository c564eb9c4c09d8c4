"""Subnormal numbers: whether this process computes with them or flushes them to zero.

A float32 below 1.2e-38 in magnitude is subnormal. Many processors compute with subnormals in microcode: on
Intel servers each costs more than a hundred cycles. ELAN's unscaled soft-max produces millions of them per
image, exponentials of logits 88 to 103 below their maximum, which change no visible result. Flushing
(flush-to-zero for results, denormals-are-zero for operands) is a mode of each thread; a new thread inherits
the mode of the thread that starts it.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

_OMP_PAUSE_SOFT = 1  # OpenMP 5.0, omp_pause_resource_t


@contextmanager
def flush_subnormals(flush: bool = True) -> Iterator[None]:
    """Flush subnormal numbers to zero in the ``with`` block: in this thread and those that compute for it.

    The previous mode is restored at the end. On a processor without such a mode nothing changes.

    Args:
        flush: False computes with subnormals in the block, to measure what they cost.

    Example:
        >>> with srlab.flush_subnormals(), torch.inference_mode():
        ...     sr_image = network(lr_image)
    """
    found = subnormals_are_flushed()
    set_flush_subnormals(flush)
    try:
        yield
    finally:
        set_flush_subnormals(found)


def set_flush_subnormals(flush: bool) -> None:
    """Set the mode of this thread and of the threads that PyTorch computes with on its behalf.

    PyTorch sets the mode of the calling thread only. Its OpenMP threads are therefore released: the next
    parallel operation starts new ones, which inherit the mode. With an OpenMP runtime that cannot release its
    threads (before version 5.0, Windows), call this before the first parallel operation.
    """
    if subnormals_are_flushed() == flush:
        return
    torch.set_flush_denormal(flush)
    with suppress(AttributeError, OSError, TypeError):  # an older runtime; Windows has no global symbols
        # in the OpenMP runtime that torch has loaded
        ctypes.CDLL(None).omp_pause_resource_all(_OMP_PAUSE_SOFT)


def subnormals_are_flushed() -> bool:
    """Whether this thread flushes subnormal numbers to zero."""
    smallest_normal = torch.tensor(torch.finfo(torch.float32).tiny, dtype=torch.float32, device="cpu")
    return not bool(smallest_normal * 0.5)


def subnormal_mode() -> str:
    """``flushed`` or ``kept``, for records."""
    return "flushed" if subnormals_are_flushed() else "kept"
