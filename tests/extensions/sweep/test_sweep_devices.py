"""GPUs go to one cell at a time, also across sweeps; cores are shared out."""

import os
import threading

import pytest
from omegaconf import OmegaConf

from srlab.extensions.sweep.devices import (
    LIMITS_VARIABLE,
    borrow_gpus,
    cell_environment,
    devices_wanted,
    list_gpus,
    lock_folder,
    processes_wanted,
    thread_limits,
    threads_per_process,
)


@pytest.fixture
def borrow(tmp_path):
    def run(wanted, gpus, *, is_stopped=lambda: False):
        return borrow_gpus(wanted, gpus, folder=tmp_path / "locks", is_stopped=is_stopped)

    return run


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
    first, second = borrow(1, ["0", "1", "2"]), borrow(2, ["0", "1", "2"])
    assert (first.environment["CUDA_VISIBLE_DEVICES"], second.environment["CUDA_VISIBLE_DEVICES"]) == (
        "0",
        "1,2",
    )
    first.release()
    assert borrow([0], ["0", "1", "2"]).names == ["0"]


def test_a_cell_that_says_which_gpus_finds_them_under_these_numbers(borrow):
    """trainer.devices=[1] and device=cuda:1 count the GPUs that the program sees."""
    second = borrow([1], ["0", "3", "5"])
    assert (second.names, second.environment["CUDA_VISIBLE_DEVICES"]) == (["3"], "0,3,5")
    assert borrow([0, 2], ["0", "3", "5"]).names == ["0", "5"]


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
    assert other.names == ["1"]
    assert not got
    held.release()
    other.release()
    waiting.join(timeout=30)
    assert got[0].names == ["0", "1"]


def test_all_of_them_and_too_many(borrow):
    everything = borrow("auto", ["0", "1"])
    assert everything.names == ["0", "1"]
    assert borrow(1, ["0", "1"], is_stopped=lambda: True) is None
    with pytest.raises(ValueError, match=r"wants 3 GPUs \(trainer.devices=3\) and 2 can be seen \(0, 1\)"):
        borrow(3, ["0", "1"])
    with pytest.raises(ValueError, match=r"wants 2 GPUs \(trainer.devices=\[0, 4\]\)"):
        borrow([0, 4], ["0", "1"])


@pytest.mark.parametrize(
    ("settings", "gpus", "processes"),
    [
        ({"trainer": {"devices": 2, "accelerator": "auto"}}, 2, 2),
        ({"trainer": {"devices": 2, "accelerator": "cpu"}}, None, 2),
        ({"trainer": {"devices": [0, 3], "accelerator": "gpu"}}, [0, 3], 2),
        ({"trainer": {"devices": "0,3", "accelerator": "gpu"}}, [0, 3], 2),
        ({"trainer": {"devices": "1,", "accelerator": "gpu"}}, [1], 1),
        ({"trainer": {"devices": "2", "accelerator": "gpu"}}, "2", 2),
        ({"trainer": {"devices": "auto", "accelerator": "gpu"}}, "auto", 1),
        ({"device": "auto"}, 1, 1),
        ({"device": "cuda:1"}, [1], 1),
        ({"device": "cpu"}, None, 1),
    ],
)
def test_what_a_configuration_asks_for(settings, gpus, processes):
    cfg = OmegaConf.create(settings)
    assert devices_wanted(cfg) == gpus
    assert processes_wanted(cfg) == processes


def test_cores_are_shared_out_and_nobody_gets_none(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    assert [threads_per_process(*shares) for shares in ((2, 1), (3, 2), (40, 1))] == [8, 2, 1]


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
    assert cell_environment(worker | {LIMITS_VARIABLE: "MKL_NUM_THREADS"}) == {
        "MKL_NUM_THREADS": "4",
        "PATH": "/bin",
    }
    assert cell_environment(worker | {LIMITS_VARIABLE: thread_limits({})}) == {"PATH": "/bin"}
