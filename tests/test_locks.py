"""Waiting for another process's work; oracle: processes that advance, hang or die."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from srlab.locks import HolderHangsError, locked_work

pytestmark = pytest.mark.skipif(os.name != "posix", reason="stops processes by signals")


def advances(watched: Path) -> None:
    """Longer than anybody's patience, but never idle."""
    for _ in range(15):
        time.sleep(0.1)
        watched.write_text(watched.read_text() + "more")


def hangs(_watched: Path) -> None:
    time.sleep(600)


def hold(path: Path, watched: Path, deed: Callable[[Path], None], ready: Any) -> None:
    with locked_work(path, work="work", watched=watched, patience_s=60):
        ready.set()
        deed(watched)


@pytest.fixture
def holder(tmp_path: Path):
    """Starts a process that holds ``tmp_path / "lock"`` and does what it is given."""
    (tmp_path / "watched").write_text("")
    started = []

    def start(deed: Callable[[Path], None]) -> Any:
        context = multiprocessing.get_context("fork")
        ready = context.Event()
        process = context.Process(target=hold, args=(tmp_path / "lock", tmp_path / "watched", deed, ready))
        process.start()
        started.append(process)
        assert ready.wait(30)
        return process

    yield start
    for process in started:
        process.kill()
        process.join(30)


def wait(folder: Path, patience_s: float) -> float:
    begin = time.monotonic()
    with locked_work(folder / "lock", work="the work", watched=folder / "watched", patience_s=patience_s):
        return time.monotonic() - begin


def test_a_holder_that_advances_is_waited_for_and_named(holder, tmp_path: Path, caplog):
    caplog.set_level("INFO")
    process = holder(advances)
    assert wait(tmp_path, 1.2) > 1.3
    assert f"the work: waiting for process {process.pid} on " in caplog.text


def test_a_holder_that_hangs_is_named_once_patience_ends(holder, tmp_path: Path):
    process = holder(hangs)
    expected = (
        rf"^the work: process {process.pid} on \S+ holds .*lock and has made no progress for 1 s; end that"
    )
    with pytest.raises(HolderHangsError, match=expected):
        wait(tmp_path, 0.6)


def test_the_lock_of_a_holder_that_is_killed_is_free_at_once(holder, tmp_path: Path):
    process = holder(hangs)
    os.kill(process.pid, signal.SIGKILL)
    assert wait(tmp_path, 30) < 10
