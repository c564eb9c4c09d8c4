"""The peak of bytes that tensors occupy on the CPU."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from srlab.terminal.output import discard

_STDERR = 2


def count_live_bytes(run: Callable[[], object]) -> tuple[int, int]:
    """Count every byte that PyTorch's CPU allocator allocates and frees during ``run()``.

    Returns the most bytes of tensors that lived at once, and those still allocated when its result was
    dropped, both relative to the start. Exact, also for memory that operators allocate inside, our own C++
    ones included, as long as they use PyTorch's allocator. Not counted: memory that libraries hold (oneDNN's
    scratch pads), which the growth of resident memory shows, and other threads than the caller's.
    """
    profiler = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
    collects = gc.isenabled()
    with _silent_stderr():
        profiler.start()
    gc.disable()  # older cyclic garbage would be freed during the call
    try:
        run()  # its result is dropped before the profiler stops
    finally:
        if collects:
            gc.enable()
        with _silent_stderr():
            profiler.stop()
    results: Any = profiler.profiler
    events = [
        event
        for event in results.kineto_results.events()
        if event.name() == "[memory]" and event.device_type() == DeviceType.CPU
    ]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()  # negative when memory is freed
        peak = max(peak, live)
    return peak, live


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """The profiler of torch 2.13 writes two lines to the file descriptor at each start and stop."""
    try:
        kept = os.dup(_STDERR)
    except OSError:  # without a standard error there is nothing to silence
        yield
        return
    try:
        discard(_STDERR)
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)
