"""Loader processes that die, hang or lack what they need; oracle: batches in closed form, and a clock."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from srlab.data import loader as loader_module
from srlab.data.loader import Loader, LoaderProcessError
from subnormal_probe import halves_kept

STEPS = [[2 * step, 2 * step + 1] for step in range(40)]
# What a fault may take until it is raised, on a busy machine.
SOON_S = 60.0


def numbered(indices: Sequence[int]) -> dict[str, Any]:
    """Every value says which sample it belongs to."""
    time.sleep(0.002)
    values = torch.tensor(indices, dtype=torch.uint8)
    return {"image": values[:, None, None].expand(-1, 50, 50).clone(), "first": indices[0]}


def loader(make: Callable[[Sequence[int]], dict[str, Any]], workers: int = 2) -> Loader:
    return Loader(make, batches=STEPS, num_workers=workers, pin_memory=False)


@contextmanager
def soon() -> Iterator[None]:
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < SOON_S


def none_is_left(of: Loader) -> bool:
    return not any(process.is_alive() for process in of.processes)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_once_each_in_their_order(workers: int):
    """Twice, as validation iterates; the processes end with each iteration."""
    batches = loader(numbered, workers)
    assert len(batches) == len(STEPS)
    for _ in range(2):
        found = list(batches)
        assert [batch["first"] for batch in found] == [pair[0] for pair in STEPS]
        for pair, batch in zip(STEPS, found, strict=True):
            expected = torch.tensor(pair, dtype=torch.uint8)[:, None, None].expand(2, 50, 50)
            assert torch.equal(batch["image"], expected)
        assert not workers or none_is_left(batches)


@pytest.mark.parametrize("hangs", [False, True])
def test_an_iterator_that_is_given_up_leaves_no_process(hangs: bool):
    """One that is stopped does not end when it is asked to."""
    batches = loader(numbered)
    iterator = iter(batches)
    next(iterator)
    assert not none_is_left(batches)
    if hangs:
        os.kill(batches.processes[0].pid, signal.SIGSTOP)
    with soon():
        del iterator
    assert none_is_left(batches)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (signal.SIGKILL, r"memory is short: set a smaller data\.num_workers"),
        (signal.SIGBUS, r"/dev/shm .* is full: .*--shm-size=8g.*data\.num_workers=0"),
    ],
)
def test_a_killed_process_is_named_with_its_signal_and_the_remedy(number: signal.Signals, advice: str):
    batches = loader(numbered)
    iterator = iter(batches)
    next(iterator)
    victim = batches.processes[1].pid
    os.kill(victim, number)
    expected = rf"^loader process {victim} was killed by {number.name}; .*{advice}"
    with soon(), pytest.raises(LoaderProcessError, match=expected):
        list(iterator)
    assert none_is_left(batches)


def dies_holding_a_lock(indices: Sequence[int]) -> dict[str, Any]:
    """Killed at the worst moment: while it writes a batch."""
    frame = sys._getframe()
    while "result_queue" not in frame.f_locals:
        assert frame.f_back is not None
        frame = frame.f_back
    frame.f_locals["result_queue"]._wlock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@pytest.mark.timeout(90)
def test_a_process_killed_while_it_holds_a_lock_blocks_nobody():
    batches = loader(dies_holding_a_lock)
    with soon(), pytest.raises(LoaderProcessError, match="was killed by SIGKILL"):
        list(batches)
    assert none_is_left(batches)


def exits(indices: Sequence[int]) -> dict[str, Any]:
    os._exit(3)


def test_a_process_that_ends_by_itself_is_named_with_its_status():
    with soon(), pytest.raises(LoaderProcessError, match=r"loader process \d+ ended with exit status 3; "):
        list(loader(exits, 1))


def test_a_process_that_hangs_ends_the_run_too(monkeypatch):
    """One that is stopped neither makes batches nor ends when it is asked to."""
    batches = loader(numbered)
    iterator = iter(batches)
    next(iterator)
    monkeypatch.setattr(loader_module, "_MOST_S", 2.0)
    for process in batches.processes:
        os.kill(process.pid, signal.SIGSTOP)
    numbers = ", ".join(str(process.pid) for process in batches.processes)
    expected = f"no batch came from loader processes {numbers} for 2 s, and they were killed"
    with soon(), pytest.raises(LoaderProcessError, match=expected):
        list(iterator)
    assert none_is_left(batches)


def cannot(indices: Sequence[int]) -> dict[str, Any]:
    raise RuntimeError("this sample cannot be made")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_sample_is_none_of_the_processes(workers: int):
    batches = loader(cannot, workers)
    with soon(), pytest.raises(RuntimeError, match="this sample cannot be made") as raised:
        list(batches)
    assert not isinstance(raised.value, LoaderProcessError)
    assert not workers or none_is_left(batches)


def full(indices: Sequence[int]) -> dict[str, Any]:
    """In torch's words where /dev/shm is too small."""
    fault = "unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)"
    raise RuntimeError(fault)


def test_full_shared_memory_names_the_remedies():
    expected = r"^loader processes failed .*</torch_1_2_3>.*\(28\).*--shm-size=8g.*data\.num_workers=0$"
    with soon(), pytest.raises(LoaderProcessError, match=expected):
        list(loader(full))


@contextmanager
def room_for_files(count: int) -> Iterator[None]:
    """So many more can be opened; the operating system limits their numbers, and gives out the lowest."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = [os.dup(0) for _ in range(count)]
    for each in lowest:
        os.close(each)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest[-1] + 1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("step_s", [0.0, 0.05])
def test_too_many_open_files_name_the_remedies(step_s: float):
    """Each tensor of a kept batch has one; a slow training finds the pool already broken when it submits."""
    batches = loader(numbered)
    iterator = iter(batches)
    kept = [next(iterator)]
    expected = r"^loader processes failed .*raise the limit \(ulimit -n.*data\.num_workers=0$"
    with room_for_files(20), soon(), pytest.raises(LoaderProcessError, match=expected):
        kept.extend(batch for batch in iterator if time.sleep(step_s) is None)
    assert none_is_left(batches)


def test_processes_that_cannot_start_for_want_of_files_name_the_remedies():
    list(loader(numbered))  # from here on the server is there
    with room_for_files(3), pytest.raises(LoaderProcessError, match=r"^loader processes failed .*ulimit -n"):
        next(iter(loader(numbered)))


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")
def test_signals_that_reach_every_process_do_not_end_loaders():
    """timeout and batch systems send SIGTERM to all of a job, terminals SIGINT and SIGHUP."""
    batches = loader(numbered)
    iterator = iter(batches)
    next(iterator)
    server = int(Path(f"/proc/{batches.processes[0].pid}/stat").read_text().rpartition(")")[2].split()[1])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        for pid in (server, *(process.pid for process in batches.processes)):
            os.kill(pid, number)
    assert len(list(iterator)) == len(STEPS) - 1


ABANDONED = """
import os, signal
from tests.data.test_loader import loader, numbered

if __name__ == "__main__":
    batches = loader(numbered)
    iterator = iter(batches)
    next(iterator)
    print(*(process.pid for process in batches.processes), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_loader_processes_end_when_their_run_is_killed(tmp_path: Path):
    """Their server too, which lives as long as they do."""
    (tmp_path / "abandoned.py").write_text(ABANDONED)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(tmp_path / "abandoned.py")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert run.returncode == -signal.SIGKILL, run.stderr
    pids = [int(pid) for pid in run.stdout.split()]
    assert len(pids) == 2
    deadline = time.monotonic() + SOON_S
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def imports_kornia(indices: Sequence[int]) -> dict[str, Any]:
    import kornia.filters  # noqa: F401

    return {"parent": os.getppid()}


def test_what_the_training_has_started_is_not_in_its_loader_processes(tmp_path: Path, monkeypatch):
    """W&B has a hook on the import of kornia, which refuses to run in a process that was forked from its."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = wandb.init(mode="offline", dir=tmp_path, project="p")
    try:
        (batch,) = Loader(imports_kornia, batches=[[0]], num_workers=1, pin_memory=False)
    finally:
        run.finish()
    assert batch["parent"] != os.getpid()


def subnormals_kept(indices: Sequence[int]) -> dict[str, Any]:
    return {"kept": halves_kept()}


def test_loader_processes_flush_subnormal_numbers():
    (batch,) = Loader(subnormals_kept, batches=[[0]], num_workers=1, pin_memory=False)
    assert batch["kept"] == 0
