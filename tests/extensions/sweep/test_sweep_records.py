"""Names of cells, which sweep a command means, and requests to stop that reach one call only."""

import json
import subprocess
import sys

import pytest

from srlab.extensions.sweep.records import Cell, StopRequest, Sweep, cell_name, newest_sweep, read_cells
from srlab.locks import take


def sweep(folder, **changes):
    known = {
        "script": "/train.py",
        "command": ["train.py", "-m", "seed=1,2"],
        "config_name": "train",
        "overrides": ["seed=1,2", "scale=2"],
        "forwarded": [],
        "swept": {"seed": ["1", "2"]},
        "launcher": "basic",
        "sweeper": "basic",
        "started": "2026-01-01T00:00:00+00:00",
        "commit": None,
        "call": "first",
    }
    return Sweep(folder=folder, **(known | changes))


@pytest.mark.parametrize(
    ("swept", "name"),
    [
        (
            {"model.n_share": "3", "model.window_sizes": "[4,8,16]", "seed": "1"},
            "n_share-3_window_sizes-4-8-16_seed-1",
        ),
        ({"optimizer.lr": "1e-3", "scheduler.lr": "-0.5"}, "optimizer.lr-1e-3_scheduler.lr-minus0.5"),
        ({"shift_schedule": "none", "+trainer.x": "a b=c"}, "shift_schedule-none_x-a-b-c"),
        ({"data.root": "/data/photos"}, "root-data-photos"),
        ({}, "cell"),
    ],
)
def test_a_cell_is_named_after_what_is_swept(swept, name):
    assert cell_name(swept) == name


def test_long_and_equal_names_get_a_hash_and_stay_short():
    long = {f"model.some_long_key_{index}": "1" for index in range(12)}
    names = {
        cell_name(long),
        cell_name({**long, "model.some_long_key_11": "2"}),
        cell_name(long, distinct=["a=1"]),
    }
    assert len(names) == 3
    assert max(map(len, names)) <= 100
    assert cell_name({"seed": "1"}, distinct=["seed=1", "x=2"]) != cell_name(
        {"seed": "1"}, distinct=["seed=1"]
    )


def test_a_cell_whose_name_is_taken_gets_another(tmp_path):
    ours = sweep(tmp_path)
    first = ours.cell(["seed=1", "scale=2"], {})
    known = {frozenset(first.overrides): first}
    assert ours.cell(["scale=2", "seed=1"], known) is first
    other = ours.cell(["seed=1", "scale=3"], known)
    assert (first.name, other.name.startswith("seed-1-")) == ("seed-1", True)


def test_the_newest_sweep_of_the_same_cells_is_found_in_whatever_order_they_were_typed(tmp_path):
    for name, day, overrides in (
        ("old", 1, ["seed=1,2", "scale=2"]),
        ("new", 2, ["scale=2", "seed=1,2"]),
        ("other", 3, ["scale=2", "seed=1,2,3"]),
    ):
        (tmp_path / name).mkdir()
        sweep(tmp_path / name, started=f"2026-01-{day:02d}T00:00:00+00:00", overrides=overrides).write()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sweep.json").write_text("{")
    found = newest_sweep(tmp_path, sweep(tmp_path / "x"))
    assert found is not None
    assert found.folder == tmp_path / "new"
    assert newest_sweep(tmp_path, sweep(tmp_path / "x", config_name="evaluate")) is None


def test_records_come_back_as_they_were_written(tmp_path):
    original = sweep(tmp_path)
    original.write()
    assert Sweep.read(tmp_path) == original
    folder = tmp_path / "seed-1"
    cell = Cell(folder=folder, overrides=["seed=1", "scale=2"], swept={"seed": "1"}, objective=30.5)
    cell.write()
    assert read_cells(tmp_path) == {frozenset(["scale=2", "seed=1"]): cell}
    # records of 0.1.0 have the cell's name, too
    (folder / "cell.json").write_text(json.dumps({"name": "x", "overrides": ["seed=1"], "swept": {}}))
    assert read_cells(tmp_path)[frozenset(["seed=1"])].name == "seed-1"
    (folder / "cell.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(ValueError, match=r"cell.json is damaged: .* missing"):
        read_cells(tmp_path)


def test_zombies_are_not_waited_for(tmp_path):
    """In a container a sweep is often process 1, which inherits orphans; here it adopts them as well."""
    code = """
import ctypes, os, subprocess, sys
from pathlib import Path
from srlab.extensions.sweep import child
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
signals, child._GRACE_S, kill = [], 1.0, os.killpg
os.killpg = lambda group, number: (signals.append(number), kill(group, number))
orphan = [sys.executable, "-c", "import subprocess; subprocess.Popen(['sleep', '0.2'])"]
child.supervise(orphan, log=Path(sys.argv[1]), environment=os.environ, stop_request=lambda: None, shown=False)
print(set(signals))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "log"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "{0}\n"


def request(ours):
    found = ours.stop_request()
    return found and (found.signal, found.times)


def test_a_request_to_stop_reaches_the_call_that_it_is_for_and_no_later_one(tmp_path):
    """A request that a killed call left behind stops nothing."""
    first = sweep(tmp_path, launcher="submitit_slurm")
    first.write()
    StopRequest(folder=tmp_path, call="first", signal=2, times=1).write()
    assert request(first) == (2, 1)
    second = sweep(tmp_path, launcher="submitit_slurm", call="second")
    second.write()
    assert request(second) is None


def test_cells_of_a_pool_stop_when_the_call_that_started_them_is_gone(tmp_path):
    """Jobs in a cluster's queue outlive it, until a newer call replaces it."""
    for launcher, after_its_end in (("joblib", (15, 1)), ("submitit_slurm", None)):
        ours = sweep(tmp_path, launcher=launcher)
        ours.write()
        lease = take(ours.lock)
        assert lease is not None
        assert request(ours) is None
        lease.release()
        assert request(ours) == after_its_end
    sweep(tmp_path, launcher="submitit_slurm", call="newer").write()
    assert request(ours) == (15, 1)
