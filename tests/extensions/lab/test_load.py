import os
import subprocess
import sys
import time

import pytest

from srlab.extensions.lab import load
from srlab.extensions.lab.load import CoreLoad, LoadMeter

HZ = os.sysconf("SC_CLK_TCK")


class Machine:
    """A /proc/stat of two cores, and this process's clock, that the test moves on."""

    def __init__(self, monkeypatch, tmp_path):
        self.file = tmp_path / "stat"
        self.ticks = {"cpu0": [0] * 10, "cpu1": [0] * 10}
        self.seconds = self.own = 0.0
        monkeypatch.setattr(load, "_STAT", self.file)
        monkeypatch.setattr(load, "_usable_cores", lambda: frozenset(self.ticks))
        monkeypatch.setattr(time, "monotonic", lambda: self.seconds)
        monkeypatch.setattr(os, "times", lambda: os.times_result((self.own, 0.0, 0.0, 0.0, 0.0)))
        self.write()

    def write(self):
        rows = ["cpu 1 1 1 1", *(f"{name} {' '.join(map(str, row))}" for name, row in self.ticks.items())]
        self.file.write_text("\n".join([*rows, "cpu2 9 9 9 9 9 9 9 9 0 0", "intr 1"]) + "\n")

    def advance(self, seconds, own, fields):
        """``fields``: seconds to add by core and number of the field."""
        self.seconds += seconds
        self.own += own
        for (core, field), value in fields.items():
            self.ticks[core][field] += round(value * HZ)
        self.write()


@pytest.fixture
def machine(monkeypatch, tmp_path):
    return Machine(monkeypatch, tmp_path)


def test_own_work_and_idle_time_are_no_load(machine):
    meter = LoadMeter(threads=2)
    machine.advance(10, own=18, fields={("cpu0", 0): 9, ("cpu1", 2): 9, ("cpu0", 3): 1, ("cpu1", 4): 1})
    assert meter.read() == CoreLoad(others=0.0, cores=2, threads=2)
    assert not meter.read().is_busy


@pytest.mark.parametrize("field", [0, 1, 2, 5, 6, 7])
def test_others_work_and_stolen_time_are(machine, field):
    meter = LoadMeter(threads=2)
    machine.advance(10, own=12, fields={("cpu0", 0): 9, ("cpu0", 2): 3})
    machine.advance(0, own=0, fields={("cpu1", field): 4})
    found = meter.read()
    assert found.others == pytest.approx(0.4)
    assert found.is_busy
    assert str(found) == "other programs used 0.4 of 2 cores beside 2 threads"


def test_guest_time_counts_once(machine):
    meter = LoadMeter(threads=1)
    machine.advance(10, own=0, fields={("cpu0", 0): 5, ("cpu0", 8): 5})
    assert meter.read().others == pytest.approx(0.5)


@pytest.mark.parametrize(("others", "threads", "is_busy"), [(1.1, 1, False), (1.3, 1, True), (0.1, 2, False)])
def test_cores_that_are_left_over_may_be_busy(others, threads, is_busy):
    assert CoreLoad(others, cores=2, threads=threads).is_busy is is_busy


def test_without_the_systems_word_nothing_is_claimed(machine):
    machine.file.unlink()
    found = LoadMeter(threads=1).read()
    assert found.others is None
    assert not found.is_busy
    assert "not known" in str(found)


@pytest.mark.skipif(not load._STAT.exists(), reason="this system has no /proc/stat")
def test_a_busy_neighbour_is_seen():
    code = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
    with subprocess.Popen([sys.executable, "-c", code]) as neighbour:
        try:
            start = time.process_time()
            meter = LoadMeter(threads=1)
            time.sleep(1.0)
            others = meter.read().others
        finally:
            neighbour.kill()
    assert others > 0.2  # it shares the cores with whatever else runs here
    assert time.process_time() - start < 0.5
