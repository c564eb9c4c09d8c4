"""Whether other programs were running while something was timed."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

_STAT = Path("/proc/stat")
# Columns of a cpu line: user nice system idle iowait irq softirq steal; guest time is part of user time.
# Time stolen by the host counts as busy.
_COUNTED, _IDLE = 8, (3, 4)
# Less than this is within the resolution of the clock's ticks and does not change a median.
_LEAST_SECONDS, _LEAST_CORES = 0.05, 0.2


@dataclass(frozen=True)
class CoreLoad:
    """Load of the cores that this process may use, over a measurement.

    Attributes:
        others: cores that other programs, or other guests of the host, used on average; None where there is
            no /proc/stat.
        cores: that this process may use.
        threads: that it computed with.
    """

    others: float | None
    cores: int
    threads: int

    @property
    def is_busy(self) -> bool:
        """Whether others used cores that the measurement needed."""
        return self.others is not None and self.others > self.cores - self.threads + _LEAST_CORES

    def __str__(self) -> str:
        if self.others is None:
            return "the load of the machine is not known"
        return f"other programs used {self.others:.1f} of {self.cores} cores beside {self.threads} threads"


class LoadMeter:
    """Counts from its construction on.

    Args:
        threads: of the CPU that the measurement computes with.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._cores = _usable_cores()
        self._start = self._clocks()

    def read(self) -> CoreLoad:
        """The load since the start."""
        now = self._clocks()
        if now is None or self._start is None:
            return CoreLoad(None, len(self._cores), self._threads)
        wall, busy, own = (after - before for after, before in zip(now, self._start, strict=True))
        seconds = busy - own
        others = seconds / wall if seconds > _LEAST_SECONDS and wall > 0 else 0.0
        return CoreLoad(min(others, float(len(self._cores))), len(self._cores), self._threads)

    def _clocks(self) -> tuple[float, float, float] | None:
        """Seconds of wall time, of all programs on our cores, and of this process."""
        try:
            lines = _STAT.read_text().splitlines()
        except OSError:
            return None
        ticks = [line.split()[1:] for line in lines if line.partition(" ")[0] in self._cores]
        if len(ticks) < len(self._cores):
            return None
        busy = sum(
            int(value) for row in ticks for field, value in enumerate(row[:_COUNTED]) if field not in _IDLE
        )
        own = os.times()
        return time.monotonic(), busy / os.sysconf("SC_CLK_TCK"), own.user + own.system


def _usable_cores() -> frozenset[str]:
    """As /proc/stat names them."""
    numbers = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return frozenset(f"cpu{number}" for number in numbers)
