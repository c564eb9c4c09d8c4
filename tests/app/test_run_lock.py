"""Who asks whether a run is going on."""

import os
import signal
import tempfile
from pathlib import Path

import pytest

from srlab.runs.folder import LOCK_NAME, RunFolder, locked_run


def asked_by_another_user(folder: Path) -> bool | None:
    """What a process without any rights finds; None: it failed."""
    child = os.fork()
    if child == 0:
        status = 2
        try:
            if os.getuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            status = int(RunFolder(folder).is_running)
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return None if status == 2 else bool(status)


@pytest.mark.skipif(os.name != "posix", reason="rights of POSIX")
def test_a_run_that_one_may_only_read_can_be_asked_for():
    """A colleague's, in a report. Not below tmp_path, which is the user's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / LOCK_NAME).touch()
        (folder / LOCK_NAME).chmod(0o444)
        assert asked_by_another_user(folder) is False
        (folder / LOCK_NAME).chmod(0o644)
        with locked_run(folder):
            (folder / LOCK_NAME).chmod(0o444)
            assert asked_by_another_user(folder) is True


def test_nobody_who_asks_is_taken_for_one_who_trains(tmp_path):
    """Nor in the way of one."""
    with locked_run(tmp_path):
        assert RunFolder(tmp_path).is_running
    assert (tmp_path / LOCK_NAME).exists()
    assert not RunFolder(tmp_path).is_running
    assert not RunFolder(tmp_path / "nowhere").is_running


@pytest.mark.skipif(os.name != "posix", reason="forks of POSIX")
def test_a_killed_run_is_free_though_its_loader_processes_live_on_for_a_while(tmp_path):
    """They notice within seconds; a requeued run must not wait for them, nor end with an error."""
    ready, inform = os.pipe()
    run = os.fork()
    if run == 0:
        with locked_run(tmp_path):
            loader = os.fork()
            if loader == 0:
                signal.pause()
            os.write(inform, str(loader).encode())
            signal.pause()
        os._exit(0)
    loader = int(os.read(ready, 20))
    left = [loader, run]
    try:
        assert RunFolder(tmp_path).is_running
        with pytest.raises(ValueError, match=rf"is being written by process {run} on "), locked_run(tmp_path):
            pass
        os.kill(run, signal.SIGKILL)
        os.waitpid(left.pop(), 0)
        os.kill(loader, 0)  # there
        assert not RunFolder(tmp_path).is_running
    finally:
        for process in left:
            os.kill(process, signal.SIGKILL)
        os.close(ready)
        os.close(inform)
