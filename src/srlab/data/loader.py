"""Batches from loader processes; if one dies or hangs, an error ends the run and names the remedy.

A ``ProcessPoolExecutor``, which notices dead processes at once, with three settings of its own:

- Processes start from a server that has neither threads nor a W&B run (``forkserver``; ``spawn`` where there
  is none). Forked from the training, they would inherit locks that are never released, and libraries that
  refuse to work there: W&B's hook on ``import kornia`` raises ``ForkedError``.
- They ignore the signals that end a run, and are killed at the end: they have no state to save.
- They end themselves when the training is killed.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor

from srlab.ops.subnormals import set_flush_subnormals

Batch = Mapping[str, Any]
Make = Callable[[Sequence[int]], Batch]

# Batches that each loader process makes ahead of time.
PREFETCHED = 2
# Processes that deliver no batch for so long count as hanging.
_MOST_S = 300.0
_TICK_S = 1.0
# A killed process closes its files a moment before it counts as dead.
_DYING_S = 0.2

_WITHOUT = "load without loader processes: data.num_workers=0"
_MORE_SHARED_MEMORY = (
    "give /dev/shm more room (docker run --shm-size=8g, or --ipc=host), set a smaller data.batch_size, "
    f"or {_WITHOUT}"
)
# By messages of torch and the operating system.
_REMEDIES = {
    "Too many open files": f"raise the limit (ulimit -n 65536), or {_WITHOUT}",
    "items of ancdata": f"too many files are open: raise the limit (ulimit -n 65536), or {_WITHOUT}",
    "No space left on device": _MORE_SHARED_MEMORY,
    "unable to allocate shared memory": _MORE_SHARED_MEMORY,
    "unable to write to file </torch": _MORE_SHARED_MEMORY,
    "SIGBUS": f"/dev/shm or the disk with decoded images is full: {_MORE_SHARED_MEMORY}",
    "SIGKILL": "often because memory is short: set a smaller data.num_workers or data.batch_size",
    "Cannot allocate memory": "memory is short: set a smaller data.num_workers or data.batch_size",
    "Resource temporarily unavailable": "set a smaller data.num_workers, or 0",
}

_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
_Context: Any = type(multiprocessing.get_context(_METHOD))

_make: Make
"""In loader processes: what makes their batches."""


class LoaderProcessError(RuntimeError):
    """Loader processes died, hang, or lack resources; the message says which, and what to do."""


class Loader:
    """Whole batches, in the order of ``batches``, each made by one call of ``make``.

    Args:
        make: the batch of these indices, a dict of tensors and other values; it must pickle.
        batches: indices of each batch.
        num_workers: loader processes; 0 makes batches in this process.
        pin_memory: copy batches to page-locked memory, from which copies to a CUDA device are asynchronous.

    Raises:
        LoaderProcessError: when iterated, if a process dies or hangs, or if open files or shared memory run
            out. All processes have ended then.
    """

    def __init__(
        self, make: Make, *, batches: Iterable[Sequence[int]], num_workers: int, pin_memory: bool
    ) -> None:
        self.make = make
        self.batches = batches
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.processes: list[_LoaderProcess] = []
        """Those of the latest iteration."""

    def __len__(self) -> int:
        return len(cast(Sized, self.batches))

    def state_dict(self) -> dict[str, Any]:
        """Empty, which lets Lightning resume: ``batches`` start where they should by themselves."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""

    def __iter__(self) -> Iterator[Batch]:
        """All batches; the processes start with the first one and end with the iterator."""
        if self.num_workers:
            return self._from_processes()
        batches = map(self.make, self.batches)
        return map(_pinned, batches) if self.pin_memory else batches

    def _from_processes(self) -> Iterator[Batch]:
        context = _LoaderContext()
        self.processes = context.processes
        remaining = iter(self.batches)
        waiting: deque[Future[Batch]] = deque()
        executors: list[Executor] = []
        try:
            submit = self._start(context, executors)
            waiting.extend(map(submit, islice(remaining, PREFETCHED * self.num_workers)))
            while waiting:
                batch = _result(waiting.popleft(), context.processes)
                waiting.extend(map(submit, islice(remaining, 1)))
                yield batch
        except LoaderProcessError:
            raise
        except (OSError, EOFError, RuntimeError) as error:
            if isinstance(error, BrokenProcessPool):
                executors[0].shutdown()  # its thread has collected the exit codes then
                error = _first_broken(waiting) or error
            if fault := _fault(error, context.processes):
                raise LoaderProcessError(fault) from error
            raise
        finally:
            _end(executors, context.processes)

    def _start(
        self, context: "_LoaderContext", executors: list[Executor]
    ) -> "Callable[[Sequence[int]], Future[Batch]]":
        """Append the executors that make and pin batches; returns the function that submits a batch."""
        pool = ProcessPoolExecutor(self.num_workers, context, _start_worker, (self.make,))
        executors.append(pool)
        if not self.pin_memory:
            return lambda indices: pool.submit(_make_batch, indices)
        # a new thread does not have the current device of this one
        device = torch.cuda.current_device()
        pinning = ThreadPoolExecutor(1, initializer=torch.cuda.set_device, initargs=(device,))
        executors.append(pinning)

        def submit(indices: Sequence[int]) -> "Future[Batch]":
            made = pool.submit(_make_batch, indices)
            return pinning.submit(lambda: _pinned(made.result()))

        return submit


def leave_signals_to_the_parent() -> None:
    """Ctrl-C and batch systems signal all processes; loaders work until the run has finished its step."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _start_worker(make: Make) -> None:
    global _make
    _make = make
    leave_signals_to_the_parent()
    torch.set_num_threads(1)
    set_flush_subnormals(True)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _make_batch(indices: Sequence[int]) -> Batch:
    """``make`` is not sent along with each batch, because it holds the index of all images."""
    return _make(indices)


def _pinned(batch: Batch) -> Batch:
    return {name: part.pin_memory() if isinstance(part, Tensor) else part for name, part in batch.items()}


def _result(future: "Future[Batch]", processes: "Sequence[_LoaderProcess]") -> Batch:
    """Waits in ticks: while Ctrl-Z stops the program, or the machine sleeps, no ticks are counted."""
    for _ in range(round(_MOST_S / _TICK_S)):
        if wait([future], _TICK_S).done:
            return future.result()
    pids = ", ".join(str(process.pid) for process in processes)
    raise LoaderProcessError(
        f"no batch came from loader processes {pids} for {_MOST_S:.0f} s, and they were killed; does a disk "
        "with images not respond?"
    )


class _LoaderProcess(_Context.Process):
    """A process that is killed rather than waited for when others have died."""

    was_killed_here = False

    def terminate(self) -> None:
        """End it at once, unless it has ended by itself."""
        super().join(_DYING_S)
        if self.is_alive():
            self.was_killed_here = True
            self.kill()


class _LoaderContext(_Context):
    """The start method, and a list of the processes that it made."""

    def __init__(self) -> None:
        self.processes: list[_LoaderProcess] = []
        if _METHOD == "forkserver":
            self.set_forkserver_preload(["srlab.data.loader_server"])

    def Process(self, *args: Any, **kwargs: Any) -> _LoaderProcess:  # noqa: N802  (the context's own name)
        """A new process, not started."""
        self.processes.append(_LoaderProcess(*args, **kwargs))
        return self.processes[-1]


def _end(executors: Sequence[Executor], processes: Sequence[_LoaderProcess]) -> None:
    for process in processes:
        if process.pid is not None:
            process.kill()
    for executor in executors:
        executor.shutdown(cancel_futures=True)


def _first_broken(futures: "Iterable[Future[Batch]]") -> BrokenProcessPool | None:
    """Of a pool that has ended; errors of its futures name their cause, which that of ``submit`` does not."""
    errors = (future.exception() for future in futures)
    return next((error for error in errors if isinstance(error, BrokenProcessPool)), None)


def _fault(error: BaseException, processes: Sequence[_LoaderProcess]) -> str | None:
    """What is wrong with the processes, and the remedy; None for an error of ``make`` itself."""
    broken = isinstance(error, BrokenProcessPool)
    dead = [process for process in processes if broken and not process.was_killed_here]
    if dead:
        return "; ".join(map(_cause_of_death, dead))
    cause = (broken and error.__cause__) or error
    remedy = _remedy(str(cause))
    # an error of ``make`` has its traceback in the process as its cause
    if not broken and not remedy and (isinstance(error, RuntimeError) or error.__cause__):
        return None
    # without the traceback of another thread or process before it
    lines = [line.strip() for line in str(cause).splitlines() if line.strip().strip("'\"")]
    said = lines[-1] if lines else type(cause).__name__
    return f"loader processes failed ({said}); {remedy or _WITHOUT}"


def _cause_of_death(process: _LoaderProcess) -> str:
    code = process.exitcode
    if code is None or code >= 0:
        return f"loader process {process.pid} ended with exit status {code}; see its output above"
    name = signal.Signals(-code).name
    return f"loader process {process.pid} was killed by {name}; {_remedy(name) or _WITHOUT}"


def _remedy(fault: str) -> str | None:
    return next((remedy for words, remedy in _REMEDIES.items() if words in fault), None)
