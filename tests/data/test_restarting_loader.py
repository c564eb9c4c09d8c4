"""Loader processes that are killed; oracle: the batches of a loader without any."""

import os
import signal
import time
from collections.abc import Sequence

import pytest
import torch
from torch.utils.data import Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from srlab.data.batches import BatchMemory, CopiedBatches
from srlab.data.restarting_loader import LoaderProcessesDiedError, RestartingLoader

STEPS = [[2 * step, 2 * step + 1] for step in range(60)]


@pytest.fixture(autouse=True)
def noticed_soon(monkeypatch):
    """Torch looks every 5 s whether its processes live while a batch does not come."""
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.2,))


def numbered(indices: Sequence[int], memory: BatchMemory) -> dict[str, torch.Tensor]:
    """Every value says which sample it belongs to."""
    batch = memory({"large": (len(indices), 3, 50, 50)})
    for sample, index in enumerate(indices):
        batch["large"][sample] = index
        time.sleep(0.001)
    return batch


class Numbers(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        return index


def first(values: list[int]) -> int:
    return values[0]


def kill_one(loader: RestartingLoader, number: int = 0) -> None:
    process = loader._iterator._workers[number % loader.num_workers]  # type: ignore[union-attr]
    os.kill(process.pid, signal.SIGKILL)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 3])
def test_batches_after_a_death_are_those_that_were_due(workers: int, caplog):
    """Killed at the first batch, in the middle, and again right after the restart."""
    loader = CopiedBatches(numbered, batch_sampler=STEPS, num_workers=workers, pin_memory=False)
    kept = []
    for number, batch in enumerate(loader):
        kept.append(batch["large"])
        if number in (0, 30, 31):
            kill_one(loader, number)
    assert len(kept) == len(STEPS)
    for pair, batch in zip(STEPS, kept, strict=True):
        assert torch.equal(
            batch, torch.tensor(pair, dtype=torch.uint8)[:, None, None, None].expand(2, 3, 50, 50)
        )
    assert "(SIGKILL) is dead; new ones go on" in caplog.text


def test_a_process_killed_between_two_passes_is_replaced(caplog):
    """As of validation, whose processes wait during the steps between."""
    batches = [[index] for index in range(7)]
    loader = RestartingLoader(Numbers(), batches=batches, num_workers=1, collate_fn=first)
    assert list(loader) == list(range(7))
    assert list(loader) == list(range(7))
    kill_one(loader)
    assert list(loader) == list(range(7))
    assert "(SIGKILL) is dead" in caplog.text


def test_a_death_raises_nothing_in_what_the_main_thread_is_doing():
    """torch's own handler of SIGCHLD would, between any two instructions."""
    loader = CopiedBatches(numbered, batch_sampler=STEPS, num_workers=1, pin_memory=False)
    batches = iter(loader)
    next(batches)
    worker = loader._iterator._workers[0]  # type: ignore[union-attr]
    kill_one(loader)
    worker.join()
    time.sleep(0.2)  # the signal has come: any time would do
    assert len(list(batches)) == len(STEPS) - 1


class Deadly(Dataset[int]):
    """Its third sample kills who makes it."""

    def __getitem__(self, index: int) -> int:
        if index == 2:
            time.sleep(0.3)  # what it made before is sent by a thread of its
            os.kill(os.getpid(), signal.SIGKILL)
        return index


def test_deaths_that_do_not_end_end_the_run_with_advice():
    loader = RestartingLoader(
        Deadly(), batches=[[index] for index in range(9)], num_workers=1, collate_fn=first
    )
    values = iter(loader)
    assert [next(values), next(values)] == [0, 1]
    with pytest.raises(LoaderProcessesDiedError, match=r"4 times .*SIGKILL.*fewer than data\.num_workers=1"):
        next(values)


class Faulty(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        raise RuntimeError("this sample cannot be made")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_sample_is_no_death(workers: int):
    loader = RestartingLoader(Faulty(), batches=[[0]], num_workers=workers, collate_fn=first)
    with pytest.raises(RuntimeError, match="this sample cannot be made"):
        list(loader)
    if workers:
        kill_one(loader)  # after an error, torch's own end of its processes takes 5 s


def test_without_processes_nothing_is_held():
    loader = RestartingLoader(Numbers(), batches=iter([[0], [1], [2]]), num_workers=0, collate_fn=first)
    assert list(loader) == [0, 1, 2]
    assert not loader._due._given
