"""How long one forward pass takes: medians with their spread, never a bare mean."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from srlab.counts.probe import (
    backend_of,
    device_name,
    dtype_name,
    explain_out_of_memory,
    random_lr_image,
    ready_network,
    synchronize,
)
from srlab.extensions.lab.load import CoreLoad, LoadMeter
from srlab.ops.subnormals import subnormal_mode

T = TypeVar("T")

#: Marks a latency that was timed while other programs used the same cores; it may be many times too long.
BUSY_MARK = "*"


@dataclass(frozen=True)
class Spread:
    """Median and the range that holds the middle 80 %."""

    median: float
    p10: float
    p90: float


@dataclass(frozen=True, kw_only=True)
class PassReport:
    """What one forward pass of one image was measured with.

    Attributes:
        backend: of attention; None for a network that has no choice.
    """

    device: str
    torch_version: str
    dtype: str
    input_shape: tuple[int, ...]
    backend: str | None


@dataclass(frozen=True, kw_only=True)
class LatencyReport(PassReport):
    """Time of one forward pass of one image, and the conditions of the measurement.

    Attributes:
        threads: of the CPU, whatever the device.
        subnormals: ``flushed`` or ``kept``.
        load: what other programs used of the CPU meanwhile.
    """

    warmup: int
    repeats: int
    threads: int
    subnormals: str
    load: CoreLoad
    median_ms: float
    p10_ms: float
    p90_ms: float

    @property
    def shown(self) -> str:
        """``640.6 (637.3 to 641.5)``: median, p10 and p90 for a table, marked if the machine was busy."""
        mark = BUSY_MARK if self.load.is_busy else ""
        return f"{self.median_ms:.1f}{mark} ({self.p10_ms:.1f} to {self.p90_ms:.1f})"

    @property
    def remark(self) -> str:
        """What the mark of :attr:`shown` means; empty without one."""
        if not self.load.is_busy:
            return ""
        return f"{BUSY_MARK} {self.load}: measure again when nothing else runs"


def measure_latency(
    network: nn.Module,
    lr_size: tuple[int, int],
    *,
    device: torch.device | str,
    dtype: torch.dtype,
    warmup: int,
    repeats: int,
) -> LatencyReport:
    """Time ``network`` on a random image of ``lr_size`` (height, width), batch 1, in evaluation mode.

    Mode, device and dtype of the network are unchanged afterwards.
    """
    if warmup < 0 or repeats < 1:
        raise ValueError(
            f"warmup must be 0 or more and repeats 1 or more, got warmup={warmup}, repeats={repeats}"
        )
    device = torch.device(device)
    with forward_pass(network, lr_size, device, dtype) as (run, conditions):
        # a GPU's kernels are launched by one thread
        meter = LoadMeter(torch.get_num_threads() if device.type == "cpu" else 1)
        times = [time_ms(run, device) for _ in range(warmup + repeats)][warmup:]
        load = meter.read()
    spread = spread_of(times)
    return LatencyReport(
        **asdict(conditions),
        warmup=warmup,
        repeats=repeats,
        threads=torch.get_num_threads(),
        subnormals=subnormal_mode(),
        load=load,
        median_ms=spread.median,
        p10_ms=spread.p10,
        p90_ms=spread.p90,
    )


@contextmanager
def forward_pass(
    network: nn.Module, lr_size: tuple[int, int], device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[Callable[[], object], PassReport]]:
    """A function that restores a random image of ``lr_size`` (height, width), and what it does so with.

    Raises:
        MemoryError: the image does not fit into the device's memory.
    """
    with ready_network(network, device, dtype) as ready, explain_out_of_memory(lr_size, device):
        lr_image = random_lr_image(lr_size, device, dtype)
        yield (
            lambda: ready(lr_image),
            PassReport(
                device=device_name(device),
                torch_version=torch.__version__,
                dtype=dtype_name(dtype),
                input_shape=tuple(lr_image.shape),
                backend=backend_of(ready),
            ),
        )


def interleaved(names: Sequence[T], *, rounds: int) -> Iterator[list[T]]:
    """The order of each round: every name once, each round starting with the next one."""
    for turn in range(rounds if names else 0):
        shift = turn % len(names)
        yield [*names[shift:], *names[:shift]]


def time_ms(function: Callable[[], object], device: torch.device) -> float:
    """Milliseconds of one call; on CUDA between two events, with the device idle before."""
    if device.type != "cuda":
        start = time.perf_counter()
        function()
        return (time.perf_counter() - start) * 1e3
    with torch.cuda.device(device):
        synchronize(device)
        start_event, end_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start_event.record()
        function()
        end_event.record()
        synchronize(device)
        return start_event.elapsed_time(end_event)


def spread_of(values: Sequence[float]) -> Spread:
    """Median, p10 and p90 with linear interpolation, of at least one value."""
    median, p10, p90 = np.quantile(values, (0.5, 0.1, 0.9)).tolist()
    return Spread(median, p10, p90)
