"""Bytes of live tensors on the CPU, counted from the allocator's own events."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

__all__ = ["LiveBytes", "count_live_bytes"]

_ALLOCATOR_EVENT = "[memory]"
_STDERR = 2


@dataclass(frozen=True)
class LiveBytes:
    """Of one call, relative to what was allocated when it began.

    Attributes:
        peak: most bytes of tensors that lived at once.
        left: bytes still allocated when the call had ended and its result was dropped.
    """

    peak: int
    left: int


def count_live_bytes(run: Callable[[], object]) -> LiveBytes:
    """Count every byte that PyTorch's CPU allocator allocates and frees during ``run()``.

    Exact, also for memory that operators allocate inside, our own C++ ones included, as long as they use
    PyTorch's allocator. Not counted: memory that libraries hold (oneDNN's scratch pads), which the growth of
    resident memory shows, and other threads than the caller's.
    """
    profiler = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
    with _silent_stderr():
        profiler.start()
    try:
        with _no_garbage_collection():  # older cyclic garbage would be freed during the call
            run()  # its result is dropped before the profiler stops
    finally:
        with _silent_stderr():
            profiler.stop()
    results: Any = profiler.profiler
    events = [
        event
        for event in results.kineto_results.events()
        if event.name() == _ALLOCATOR_EVENT and event.device_type() == DeviceType.CPU
    ]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()  # negative when memory is freed
        peak = max(peak, live)
    return LiveBytes(peak=peak, left=live)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """The profiler of torch 2.13 writes two lines to the file descriptor at each start and stop."""
    kept = None
    with suppress(OSError):  # without a standard error there is nothing to silence
        kept = os.dup(_STDERR)
    if kept is None:
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), _STDERR)
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)
