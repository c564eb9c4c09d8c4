"""A sweep of trainings of which one fails and one is killed: the same command finishes just those two."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from srlab.extensions.console.main import main
from training_runs import write_photos

TRAIN = Path(__file__).parents[3] / "train.py"
SWEEP = [
    "model.n_share=0,1,3",
    *(
        "model.window_sizes=[2,4]",
        "model.dim=8",
        "model.depth=4",
        "data=folder",
        "data.root=train",
        "data.validation_root=validation",
        "data.patch_size=8",
        "data.batch_size=2",
    ),
    *("trainer.max_steps=2", "validate_every=1", "trainer.accelerator=cpu", "latency.output_size=[32,32]"),
    *("latency.warmup=0", "latency.repeats=1", "hydra.sweep.dir=sweep", "logger=csv"),
    *("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
]
FAILING = "n_share-0"
KILLED = "n_share-1"


def started() -> "subprocess.Popen[bytes]":
    with Path("out.txt").open("w") as out:
        return subprocess.Popen([sys.executable, TRAIN, "-m", *SWEEP], stdout=out, stderr=subprocess.STDOUT)


def process_of(cell: Path) -> int:
    """The one that trains in the cell's folder, once it does."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        if (cell / "checkpoints").is_dir():
            found = re.match(r"process (\d+) ", (cell / ".running").read_text())
            assert found is not None
            return int(found[1])
        time.sleep(0.02)
    raise AssertionError(f"{cell} never began; {Path('out.txt').read_text()}")


def states() -> dict[str, str]:
    return {
        path.parent.name: json.loads(path.read_text())["state"] for path in Path("sweep").glob("*/cell.json")
    }


def reported_states() -> dict[str, int]:
    """Of all cells that the report's page shows."""
    assert main(["report", "sweep"]) == 0
    runs = json.loads(Path("sweep/report/data.json").read_text())["runs"]
    page = Path("sweep/report/report.html").read_text()
    assert all(run["name"] in page for run in runs)
    return Counter(run["state"] for run in runs)


@pytest.mark.slow
def test_of_three_trainings_one_fails_and_one_is_killed_and_the_same_command_finishes_those_two(
    tmp_path, monkeypatch
):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs hydra-joblib-launcher")
    monkeypatch.chdir(write_photos(tmp_path))
    monkeypatch.setenv("SRLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    failing, killed = Path("sweep") / FAILING, Path("sweep") / KILLED
    failing.mkdir(parents=True)
    (failing / "checkpoints").write_text("in the way")

    with started() as first:
        os.killpg(process_of(killed), signal.SIGKILL)
        assert first.wait(timeout=300) == 1
    printed = Path("out.txt").read_text()
    assert {name for name, state in states().items() if state != "finished"} == {FAILING, KILLED}, printed
    assert len(states()) == 3
    assert "2 of 3 cells are not done" in printed
    assert reported_states() == {"finished": 1, "failed": 2}
    finished = {
        path: path.stat().st_mtime_ns for cell in states() for path in (Path("sweep") / cell).rglob("*")
    }
    finished = {path: date for path, date in finished.items() if not path.is_relative_to(failing)}
    finished = {path: date for path, date in finished.items() if not path.is_relative_to(killed)}

    (failing / "checkpoints").unlink()
    with started() as second:
        assert second.wait(timeout=300) == 0, Path("out.txt").read_text()
    assert list(states().values()) == ["finished"] * 3
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    for cell in (failing, killed):
        summary = json.loads((cell / "summary.json").read_text())
        assert summary["steps"] == 2
        assert summary["val/psnr"] == json.loads((cell / "cell.json").read_text())["objective"]
    assert reported_states() == {"finished": 3}
