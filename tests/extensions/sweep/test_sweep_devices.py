"""GPUs go to one cell at a time, also across sweeps; cores are shared out."""

import os
import threading

import pytest
from omegaconf import OmegaConf

from srlab.extensions.sweep.devices import (
    THREAD_LIMITS_VARIABLE,
    borrow_gpus,
    cell_environment,
    devices_wanted,
    list_gpus,
    lock_folder,
    thread_limits,
    threads_per_process,
    visible_gpus,
)


@pytest.fixture
def borrow(tmp_path):
    def run(wanted, gpus, *, is_stopped=lambda: False):
        return borrow_gpus(wanted, gpus, folder=tmp_path / "locks", is_stopped=is_stopped)

    return run


def release(leases):
    for lease in leases.values():
        lease.release()


def test_gpus_are_those_of_the_driver_unless_the_environment_names_some(tmp_path, monkeypatch):
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\nprintf '0\\n1\\n2\\n'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert list_gpus({}) == ["0", "1", "2"]
    assert list_gpus({"CUDA_VISIBLE_DEVICES": "2, GPU-5a"}) == ["2", "GPU-5a"]
    assert list_gpus({"CUDA_VISIBLE_DEVICES": ""}) == list_gpus({"CUDA_VISIBLE_DEVICES": "-1"}) == []
    driver.write_text("#!/bin/sh\necho no driver >&2; exit 9\n")
    assert list_gpus({}) == []


def test_cells_get_different_gpus_and_give_them_back(borrow):
    gpus = ["0", "1", "2"]
    first, second = borrow(1, gpus), borrow(2, gpus)
    assert (list(first), list(second)) == (["0"], ["1", "2"])
    assert visible_gpus(2, list(second), gpus)["CUDA_VISIBLE_DEVICES"] == "1,2"
    release(first)
    assert list(borrow([0], gpus)) == ["0"]


def test_a_cell_that_says_which_gpus_finds_them_under_these_numbers(borrow):
    """trainer.devices=[1] and device=cuda:1 count the GPUs that the program sees."""
    gpus = ["0", "3", "5"]
    second = borrow([1], gpus)
    assert list(second) == ["3"]
    assert visible_gpus([1], ["3"], gpus)["CUDA_VISIBLE_DEVICES"] == "0,3,5"
    assert list(borrow([0, 2], gpus)) == ["0", "5"]


def test_locks_are_found_for_a_user_without_a_name(monkeypatch):
    """Containers run as numbers that no file of passwords knows."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999)
    assert lock_folder().name == "srlab-gpus-3999999"


def test_a_cell_waits_until_enough_are_free_and_holds_none_meanwhile(borrow):
    held = borrow(1, ["0", "1"])
    got = []
    waiting = threading.Thread(target=lambda: got.append(borrow(2, ["0", "1"])))
    waiting.start()
    other = borrow(1, ["0", "1"])  # would wait for ever for a GPU that the waiting cell kept
    assert list(other) == ["1"]
    assert not got
    release(held)
    release(other)
    waiting.join(timeout=30)
    assert list(got[0]) == ["0", "1"]


def test_all_of_them_and_too_many(borrow):
    everything = borrow("auto", ["0", "1"])
    assert list(everything) == ["0", "1"]
    assert borrow(1, ["0", "1"], is_stopped=lambda: True) is None
    with pytest.raises(
        ValueError, match=r"asks for 3 GPUs \(trainer.devices=3\), but 2 are visible \(0, 1\)"
    ):
        borrow(3, ["0", "1"])
    with pytest.raises(ValueError, match=r"asks for 2 GPUs \(trainer.devices=\[0, 4\]\)"):
        borrow([0, 4], ["0", "1"])


@pytest.mark.parametrize(
    ("settings", "devices", "uses_gpus"),
    [
        ({"trainer": {"devices": 2, "accelerator": "auto"}}, 2, True),
        ({"trainer": {"devices": 2, "accelerator": "cpu"}}, 2, False),
        ({"trainer": {"devices": [0, 3], "accelerator": "gpu"}}, [0, 3], True),
        ({"trainer": {"devices": "0,3", "accelerator": "gpu"}}, [0, 3], True),
        ({"trainer": {"devices": "1,", "accelerator": "gpu"}}, [1], True),
        ({"trainer": {"devices": "auto", "accelerator": "gpu"}}, "auto", True),
        ({"device": "auto"}, 1, True),
        ({"device": "cuda:1"}, [1], True),
        ({"device": "cpu"}, 1, False),
    ],
)
def test_what_a_configuration_asks_for(settings, devices, uses_gpus):
    assert devices_wanted(OmegaConf.create(settings)) == (devices, uses_gpus)


def test_cores_are_divided_among_cells_and_their_processes(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    shares = ((2, 1), (3, 2), (2, "2"), (2, [0, 3]), (2, "auto"), (40, 1))
    assert [threads_per_process(*share) for share in shares] == [8, 2, 4, 4, 8, 1]


def test_a_task_of_slurms_is_hidden_from_lightning():
    job = {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "PATH": "/bin", "SRLAB_SWEEP_CALL": "x"}
    assert cell_environment(job | {"SUBMITIT_EXECUTOR": "slurm"}) == {
        "PATH": "/bin",
        "SUBMITIT_EXECUTOR": "slurm",
    }
    # a sweep that somebody started inside a job of their own
    assert cell_environment(job | {"SLURM_NTASKS": "4"}) == {"PATH": "/bin"}
    with pytest.raises(ValueError, match=r"has 2 tasks, each of which would run the cell"):
        cell_environment(job | {"SLURM_NTASKS": "2", "SUBMITIT_EXECUTOR": "slurm"})


def test_limits_of_threads_that_joblib_sets_for_its_workers_do_not_reach_cells():
    worker = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "4", "PATH": "/bin"}
    assert cell_environment(worker) == worker
    by_user = ",".join(thread_limits({"MKL_NUM_THREADS": "4", "HOME": "/"}))
    assert cell_environment(worker | {THREAD_LIMITS_VARIABLE: by_user}) == {
        "MKL_NUM_THREADS": "4",
        "PATH": "/bin",
    }
    assert cell_environment(worker | {THREAD_LIMITS_VARIABLE: ""}) == {"PATH": "/bin"}
