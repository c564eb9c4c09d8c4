"""Environments as torchrun, srun and Lightning leave them."""

import os
import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from srlab.app import saved_config
from srlab.app.application import register
from srlab.app.launch import Launch, check_launch, check_shared_name, first_process_log, new_run_name
from srlab.app.presets import configuration_folder

TORCHRUN = {"WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "2", "LOCAL_RANK": "0", "GROUP_RANK": "1"}
SRUN = {
    "SLURM_NTASKS": "4",
    "SLURM_NNODES": "2",
    "SLURM_JOB_ID": "81",
    "SLURM_STEP_ID": "0",
    "SLURM_LOCALID": "0",
}


def torchrun(rank: int, run_id: str = "x4 long/1") -> dict[str, str]:
    return {**TORCHRUN, "RANK": str(rank), "TORCHELASTIC_RUN_ID": run_id}


def srun(rank: int, **changes: str) -> dict[str, str]:
    return {**SRUN, "SLURM_PROCID": str(rank), **changes}


@pytest.mark.parametrize(
    ("environment", "is_first"),
    [
        ({}, True),
        (torchrun(0), True),
        (torchrun(2), False),  # the first of its node
        (srun(0), True),
        (srun(2), False),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),  # a process that Lightning started
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
        ({"NODE_RANK": "1"}, False),
        # inside a job, torchrun's word counts
        ({**srun(0), **torchrun(1)}, False),
        # a shell of an interactive job starts what it likes
        ({**srun(1), "SLURM_JOB_NAME": "bash"}, True),
    ],
)
def test_one_process_is_the_first(environment, is_first):
    assert Launch.of(environment).is_first is is_first


def test_a_process_knows_whether_others_compose_beside_it():
    apart = [torchrun(0), srun(3), {"NODE_RANK": "1"}, {"LOCAL_RANK": "0"}]
    lone = [{}, srun(0, SLURM_NTASKS="1"), {**torchrun(0), "WORLD_SIZE": "1"}]
    assert all(Launch.of(environment).is_one_of_several for environment in apart)
    assert not any(Launch.of(environment).is_one_of_several for environment in lone)


def test_processes_that_were_started_apart_name_a_new_run_alike():
    assert {new_run_name(torchrun(rank)) for rank in range(4)} == {"torchrun-x4-long-1"}
    assert {new_run_name(srun(rank)) for rank in range(4)} == {"slurm-81.0"}
    assert {new_run_name(srun(rank, SLURM_STEP_ID="3")) for rank in range(4)} == {"slurm-81.3"}


@pytest.mark.parametrize(
    "environment", [{}, srun(0, SLURM_NTASKS="1"), {"LOCAL_RANK": "1", "NODE_RANK": "0"}]
)
def test_a_lone_process_names_a_new_run_after_the_clock(environment):
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", new_run_name(environment))


@pytest.mark.parametrize(
    ("environment", "remedy"),
    [
        (
            torchrun(0, "none"),
            r"--rdzv-id=NAME \(or --standalone\), or give all of them the same hydra\.run\.dir",
        ),
        ({"NODE_RANK": "1", "MASTER_ADDR": "10.0.0.1"}, r"clock; give all of them the same hydra\.run\.dir="),
        ({"LOCAL_RANK": "0"}, r"clock; give all of them the same hydra\.run\.dir="),
    ],
)
def test_a_folder_named_by_several_clocks_is_refused(environment, remedy):
    with pytest.raises(ValueError, match=remedy):
        check_shared_name(environment)


@pytest.mark.parametrize("environment", [{}, torchrun(1), srun(1), srun(0, SLURM_NTASKS="1")])
def test_a_folder_that_all_name_alike_is_not_refused(environment):
    check_shared_name(environment)


@pytest.mark.parametrize(
    ("devices", "num_nodes"), [(1, 1), (1, 2), (4, 1), (1, 4), ("2", 1), ([0, 1], 1), ("0,", 2)]
)
def test_other_numbers_than_the_launcher_started_are_refused(devices, num_nodes):
    for environment, launcher in ((torchrun(1), "torchrun"), (srun(1), "srun")):
        told = f"{launcher} started 4 processes on 2 nodes.*set trainer.devices=2 trainer.num_nodes=2"
        with pytest.raises(ValueError, match=told):
            check_launch(devices, num_nodes, environment)


@pytest.mark.parametrize("devices", [2, "2", [0, 1], "0,1", "auto", -1, "-1"])
def test_the_launchers_numbers_are_accepted(devices):
    check_launch(devices, 2, torchrun(1))
    check_launch(devices, 2, srun(1))


def test_nodes_that_nobody_starts_are_refused_instead_of_waited_for():
    with pytest.raises(ValueError, match=r"trainer\.num_nodes=2, but this process was started alone"):
        check_launch(1, 2, {})
    check_launch(8, 1, {})
    check_launch(1, 2, {"NODE_RANK": "0", "MASTER_ADDR": "10.0.0.1"})


def test_only_the_first_process_has_a_log_file(monkeypatch):
    for key in list(os.environ):
        if key.startswith(("SLURM_", "TORCHELASTIC_")) or key.endswith("_RANK"):
            monkeypatch.delenv(key)
    assert Path(first_process_log("run", "train")) == Path("run/train.log")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert first_process_log("run", "train") == os.devnull


@pytest.mark.parametrize("environment", [torchrun(1), srun(1)], ids=["torchrun", "srun"])
def test_processes_that_were_started_apart_do_not_look_for_a_run_each_for_itself(monkeypatch, environment):
    """Theirs is the folder of the name that they share, also under resume=auto."""
    register()
    with initialize_config_dir(config_dir=str(configuration_folder()), version_base="1.3"):
        config = compose("train", overrides=["resume=auto", "paths.name=n"], return_hydra_config=True)
    monkeypatch.setattr(saved_config, "_unfinished_like", lambda *_: Path("outputs/another"))
    assert saved_config.run_folder(config) == Path("outputs/another")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert saved_config.run_folder(config) == Path("outputs/n") / new_run_name()
