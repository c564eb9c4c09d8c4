"""Bytes of live tensors on the CPU, counted from the allocator's own events."""

import gc
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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
    """Of one call, relative to what lived when it began.

    Releases are seen of what was allocated during this call or an earlier count.

    Attributes:
        peak: most bytes of tensors that lived at once.
        left: bytes that still lived when the call had ended and its result was dropped.
    """

    peak: int
    left: int


def count_live_bytes(run: Callable[[], object]) -> LiveBytes:
    """Count every byte that PyTorch's CPU allocator gives out and takes back during ``run()``.

    Exact, also for memory that operators allocate inside, our own C++ ones included, as long as they take it
    from PyTorch. Not seen: what libraries keep for themselves (oneDNN's scratch pads), which the growth of
    resident memory shows, and other threads than the caller's.
    """
    profiler = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
    with _silent_stderr():
        profiler.start()
    try:
        with _no_garbage_collection():  # cyclic garbage of before would be taken back during the call
            run()  # its result is dropped before the profiler stops
    finally:
        with _silent_stderr():
            profiler.stop()
    results: Any = profiler.profiler
    events = [event for event in results.kineto_results.events() if _is_of_the_cpu(event)]
    events.sort(key=lambda event: event.start_ns())
    return _summed(event.nbytes() for event in events)


def _is_of_the_cpu(event: Any) -> bool:
    return event.name() == _ALLOCATOR_EVENT and event.device_type() == DeviceType.CPU


def _summed(changes: Iterable[int]) -> LiveBytes:
    """Peak and end of the running sum of allocations and, negative, releases; the peak is at least 0."""
    live = peak = 0
    for change in changes:
        live += change
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
    try:
        kept = os.dup(_STDERR)
    except OSError:  # there is no standard error
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), _STDERR)
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)
