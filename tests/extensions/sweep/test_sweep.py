"""``-m`` as a user types it, with a process for each cell; the program is a small one, to be quick."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from srlab.extensions.sweep.records import Sweep

PROGRAM = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
from srlab.app.application import application

def main(cfg):
    run = Path(cfg.paths.run)
    (run / "ran.txt").open("a").write(f"{os.getpid()} {os.environ.get('OMP_NUM_THREADS')}\\n")
    if Path(f"fail{cfg.seed}").exists():
        raise ValueError(f"seed {cfg.seed} must fail")
    if Path(f"slow{cfg.seed}").exists():
        sys.exit(3)
    asked = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: asked.append(number))
    (run / "ready").touch()
    while Path("hold").exists() and not asked:
        time.sleep(0.02)
    if asked:
        print("saving", flush=True)
        (run / "saved").touch()
        while Path("stubborn").exists() and len(asked) < 2:
            time.sleep(0.02)
        sys.exit(128 + asked[0])
    (run / "summary.json").write_text(json.dumps({"val/psnr": 30.0 + cfg.seed}))

if __name__ == "__main__":
    application("train", "__main__:main")()
"""
POOL = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
needs_pool = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import hydra_plugins.hydra_joblib_launcher"]).returncode != 0,
    reason="hydra-joblib-launcher is not installed",
)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    (tmp_path / "train.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def heed_signals() -> None:
    """Tests that run in the background, or by nohup, ignore these signals, and so would the command."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def started(*overrides: str):
    """Start the command in a session of its own, as a terminal has its foreground processes in one group."""
    command = [sys.executable, "train.py", "-m", *overrides]
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    with Path("out.txt").open("w") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
            preexec_fn=heed_signals,
        )
    try:
        yield process
    finally:
        Path("hold").unlink(missing_ok=True)
        Path("stubborn").unlink(missing_ok=True)
        process.wait(timeout=60)


def sweep(*overrides: str) -> tuple[int, str]:
    with started(*overrides) as process:
        status = process.wait(timeout=120)
    return status, Path("out.txt").read_text()


def wait_until(condition, what: str):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen; {Path('out.txt').read_text()}"
        time.sleep(0.05)


def wait_for_cells(*names: str):
    wait_until(lambda: all(Path("s", name, "ready").exists() for name in names), f"start of {names}")


def cell(name: str, root: str = "s") -> dict:
    return json.loads(Path(root, name, "cell.json").read_text())


def states(root: str = "s") -> dict[str, str]:
    return {
        path.parent.name: json.loads(path.read_text())["state"] for path in Path(root).glob("*/cell.json")
    }


def dates(*folders: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")}


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_failed_cell_stops_no_other_and_the_same_command_runs_it_alone():
    Path("fail1").touch()
    status, printed = sweep("seed=1,2", "model.n_share=0")
    (run,) = Path("multirun").iterdir()
    assert status == 1
    assert states(str(run)) == {"seed-1": "failed", "seed-2": "finished"}
    assert "Traceback" not in printed
    assert "seed 1 must fail" in printed.partition("seed-1 failed; its last lines:")[2]
    assert "1 of 2 cells are not done" in printed
    failed = cell("seed-1", str(run))
    assert (failed["exit_status"], failed["swept"]) == (2, {"seed": "1"})
    assert set(failed["overrides"]) == {"seed=1", "model.n_share=0"}
    record = json.loads((run / "sweep.json").read_text())
    assert (record["swept"], record["overrides"]) == ({"seed": ["1", "2"]}, ["seed=1,2", "model.n_share=0"])

    Path("fail1").unlink()
    untouched = dates(run / "seed-2")
    status, printed = sweep("model.n_share=0", "seed=1,2")
    assert status == 0
    assert list(Path("multirun").iterdir()) == [run]
    assert dates(run / "seed-2") == untouched
    assert [attempt["exit_status"] for attempt in cell("seed-1", str(run))["attempts"]] == [2, 0]
    assert cell("seed-1", str(run))["objective"] == 31.0
    assert (run / "seed-1" / "output.log").read_text().count("==== attempt") == 2


@pytest.mark.slow
@needs_pool
@pytest.mark.usefixtures("folder")
def test_a_pool_runs_cells_side_by_side_and_a_larger_sweep_runs_only_what_is_new():
    Path("slow3").touch()
    Path("hold").touch()
    with started("seed=1,2,3", "hydra.sweep.dir=s", *POOL) as process:
        wait_for_cells("seed-1", "seed-2")
        Path("hold").unlink()
        assert process.wait(timeout=60) == 0
    assert states() == {"seed-1": "finished", "seed-2": "finished", "seed-3": "over_limit"}
    assert cell("seed-3")["exit_status"] == 3
    pids = [Path("s", name, "ran.txt").read_text().split() for name in ("seed-1", "seed-2")]
    assert pids[0][0] != pids[1][0]
    assert {threads for _, threads in pids} == {str(max(1, len(os.sched_getaffinity(0)) // 2))}
    untouched = dates(Path("s/seed-1"), Path("s/seed-2"), Path("s/seed-3"))
    status, printed = sweep("seed=2,3,4", "hydra.sweep.dir=s")
    assert (status, states()["seed-4"]) == (0, "finished")
    assert "3 cells, 2 done" in printed
    assert dates(*(Path("s", f"seed-{seed}") for seed in (1, 2, 3))) == untouched
    status, printed = sweep("seed=1,2,3,4", "hydra.sweep.dir=s")
    assert (status, "4 cells, 4 done" in printed, "34.0000" in printed) == (0, True, True)


@pytest.mark.slow
@needs_pool
@pytest.mark.usefixtures("folder")
def test_a_stopped_pool_saves_starts_no_other_cell_and_resumes():
    """Ctrl-C reaches every process of the terminal's foreground group."""
    Path("hold").touch()
    with started("seed=1,2,3", "hydra.sweep.dir=s", *POOL) as process:
        wait_for_cells("seed-1", "seed-2")
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 130
    printed = Path("out.txt").read_text()
    assert {name: state for name, state in states().items() if name != "seed-3"} == {
        "seed-1": "stopped",
        "seed-2": "stopped",
    }
    assert cell("seed-1")["exit_status"] == 130
    assert Path("s/seed-1/saved").exists()
    assert not Path("s/seed-3/ran.txt").exists()
    assert "3 of 3 cells are not done; to resume them, run the same command again" in printed
    assert "Traceback" not in printed
    assert not Path("s/.stop").exists()
    status, _ = sweep("seed=1,2,3", "hydra.sweep.dir=s", *POOL)
    assert (status, set(states().values())) == (0, {"finished"})


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_second_ctrl_c_aborts_the_running_cell():
    Path("hold").touch()
    Path("stubborn").touch()
    with started("seed=1,2", "hydra.sweep.dir=s") as process:
        wait_for_cells("seed-1")
        os.killpg(process.pid, signal.SIGINT)
        wait_until(Path("s/seed-1/saved").exists, "saving")
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 130
    assert states()["seed-1"] == "stopped"
    assert "aborting" in Path("out.txt").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_closing_the_terminal_stops_the_sweep_as_ctrl_c_does():
    """Nothing can be written any more, neither what the sweep says nor what its cell prints."""
    Path("hold").touch()
    Path("out.txt").touch()
    command = [sys.executable, "train.py", "-m", "seed=1,2", "hydra.sweep.dir=s"]
    reader, writer = os.pipe()
    with subprocess.Popen(
        command, stdout=writer, stderr=writer, start_new_session=True, preexec_fn=heed_signals
    ) as process:
        os.close(writer)
        try:
            wait_until(Path("s/seed-1/ready").exists, "start of the first")
            os.close(reader)
            process.send_signal(signal.SIGHUP)
            assert process.wait(timeout=60) == 129
        finally:
            Path("hold").unlink()
    assert Path("s/seed-1/saved").exists()
    assert states() == {"seed-1": "stopped"}


@pytest.mark.slow
@needs_pool
@pytest.mark.usefixtures("folder")
def test_cells_of_a_killed_sweep_save_and_those_of_killed_processes_are_run_again():
    """SIGKILL of the sweep's own process, and of a cell with everything that it has started."""
    Path("hold").touch()
    with started("seed=1,2", "hydra.sweep.dir=s", *POOL) as process:
        wait_for_cells("seed-1", "seed-2")
        status, printed = refused = (
            subprocess.run(
                [sys.executable, "train.py", "-m", "seed=1,2", "hydra.sweep.dir=s"],
                capture_output=True,
                text=True,
            ).returncode,
            "",
        )
        assert refused[0] == 2, "two calls ran one sweep"
        os.killpg(int(Path("s/seed-2/ran.txt").read_text().split()[0]), signal.SIGKILL)
        wait_until(lambda: states()["seed-2"] != "running", "notice of the killed cell")
        process.kill()
        wait_until(lambda: states()["seed-1"] == "stopped", "end of the other cell")
    assert Path("s/seed-1/saved").exists()
    assert (cell("seed-2")["state"], cell("seed-2")["exit_status"]) == ("failed", 137)
    status, printed = sweep("seed=1,2", "hydra.sweep.dir=s", *POOL)
    assert (status, set(states().values())) == (0, {"finished"}), printed


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_resumed_search_repeats_its_choices_without_running_them():
    """Oracle: the same search in one go, in another folder."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs hydra-optuna-sweeper")
    search = ["search=latency", "seed=choice(1,2,3,4,5,6)", "model.n_share=0,1", "hydra.sweeper.n_jobs=2"]
    Path("slow6").touch()
    status, _ = sweep(*search, "hydra.sweeper.n_trials=2", "hydra.sweep.dir=s")
    assert status == 0
    untouched = dates(*(path.parent for path in Path("s").glob("*/cell.json")))
    status, printed = sweep(*search, "hydra.sweeper.n_trials=6", "hydra.sweep.dir=s")
    assert (status, "a search by optuna" in printed) == (0, True)
    assert all(path.stat().st_mtime_ns == date for path, date in untouched.items())
    sweep(*search, "hydra.sweeper.n_trials=6", "hydra.sweep.dir=whole")
    assert states("s") == states("whole")
    best = [Path(root, "optimization_results.yaml").read_text() for root in ("s", "whole")]
    assert [re.findall(r"best_value: (.*)", text) for text in best] == [["35.0"], ["35.0"]]


@pytest.mark.slow
@needs_pool
@pytest.mark.usefixtures("folder")
def test_cells_of_one_name_get_a_folder_each_also_side_by_side():
    Path("hold").touch()
    with started("+x='a/b','a-b'", "hydra.sweep.dir=s", *POOL) as process:
        wait_until(lambda: len(list(Path("s").glob("x-a-b*/ready"))) == 2, "start of both")
        Path("hold").unlink()
        assert process.wait(timeout=60) == 0
    assert sorted(cell(name)["swept"]["+x"] for name in states()) == ["'a-b'", "'a/b'"]


@pytest.mark.slow
@needs_pool
@pytest.mark.usefixtures("folder")
def test_a_search_that_asks_for_one_cell_twice_at_a_time_trains_it_once_and_gets_both_answers():
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs hydra-optuna-sweeper")
    search = ["search=latency", "seed=choice(1,2)", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=3"]
    fixed = ["model.n_share=0", "model.dim=36", "model.window_sizes=[4,8,16]"]
    Path("hold").touch()
    with started(*search, *fixed, "hydra.sweep.dir=s", *POOL[:1], "hydra.launcher.n_jobs=3") as process:
        wait_until(lambda: "waiting for process" in Path("out.txt").read_text(), "the third trial")
        Path("hold").unlink()
        assert process.wait(timeout=60) == 0
    assert "Failed experiment" not in Path("out.txt").read_text()
    assert [len(cell(name)["attempts"]) for name in states()] == [1, 1]


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_queued_jobs_of_a_stopped_sweep_start_nothing():
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs hydra-submitit-launcher")
    Path("hold").touch()
    with started("seed=1,2", "hydra.sweep.dir=s", "hydra/launcher=submitit_local") as process:
        wait_for_cells("seed-1", "seed-2")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143
    assert Sweep.read(Path("s")).is_stopped()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["seed=1,2", "resume=run"], "names one run, but a sweep has many"),
        (
            ["search=latency", "shift_schedule=choice(none,nonne)"],
            "shift_schedule has no choice nonne;",
        ),
    ],
)
def test_what_no_cell_could_run_is_refused_before_any_starts(overrides, complaint):
    status, printed = sweep(*overrides, "hydra.sweep.dir=s")
    assert (status, complaint in printed) == (2, True), printed
    assert not Path("s").exists()
