"""How a call tells its cells to stop: a mark in the sweep's folder, which reaches other machines too."""

import json
import signal
import time
from collections.abc import Callable

from srlab.atomic_files import atomic_write
from srlab.extensions.sweep.leases import is_held
from srlab.extensions.sweep.records import Sweep

__all__ = ["LOCAL_LAUNCHERS", "StopWatch", "mark_stop"]

# Cells of these end with the call that started them; those of a cluster's queue outlive it.
LOCAL_LAUNCHERS = ("basic", "joblib")

# Files are asked this often whether somebody stopped the sweep.
_INTERVAL_S = 0.2


def mark_stop(sweep: Sweep, number: int, times: int) -> None:
    """Ask every cell of this call to stop.

    Args:
        sweep: whose newest call is asked to.
        number: the signal that each cell gets.
        times: how often it was asked to; the second time means at once.
    """
    with atomic_write(sweep.stop_mark) as partial:
        partial.write_text(json.dumps({"call": sweep.call, "signal": number, "times": times}))


class StopWatch:
    """Whether one call of a sweep has been asked to stop.

    A call that was killed counts as asked to, where cells end with it; so does one that a newer call has
    replaced.

    Args:
        sweep: as it was when the call began.
        call: which call.
        clock: seconds, monotonic.
    """

    def __init__(self, *, sweep: Sweep, call: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.sweep = sweep
        self.call = call
        self._clock = clock
        self._asked_at = -_INTERVAL_S
        self._answer = (0, 0)

    def asked(self) -> tuple[int, int]:
        """The signal to hand on and how often; 0 and 0 while the sweep goes on."""
        now = self._clock()
        if now - self._asked_at >= _INTERVAL_S:
            self._asked_at = now
            self._answer = self._look()
        return self._answer

    def is_asked(self) -> bool:
        """Whether cells of this call shall stop, or not begin."""
        return self._look()[1] > 0

    def _look(self) -> tuple[int, int]:
        try:
            mark = json.loads(self.sweep.stop_mark.read_text())
        except FileNotFoundError:
            mark = {}
        if mark.get("call") == self.call:
            return mark["signal"], mark["times"]
        if Sweep.read(self.sweep.folder).call != self.call:
            return signal.SIGTERM, 1
        if self.sweep.launcher in LOCAL_LAUNCHERS and not is_held(self.sweep.lock):
            return signal.SIGTERM, 1
        return 0, 0
