"""Names of cells, which sweep a command means, locks, and marks that reach one call only."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext

import pytest

from srlab.extensions.sweep.gray_rules import refuse_earlier_gray_rule
from srlab.extensions.sweep.records import (
    Cell,
    Sweep,
    cell_name,
    identity,
    newest_sweep,
    read_cells,
    short_keys,
)
from srlab.extensions.sweep.stopping import StopWatch, mark_stop
from srlab.locks import holder, is_held, take


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
    ("protocol", "gray_images", "is_refused"),
    [
        ({"color": "y"}, ["bridge"], True), ({"color": "y"}, [], False),
        ({"color": "rgb"}, ["bridge"], False),
        ({"color": "y", "gray": "replicate"}, ["bridge"], False),
        ({"color": "y", "gray": "own"}, ["bridge"], False),  # asked for by the sweep's own command
    ],
)  # fmt: skip
def test_a_sweep_scored_before_gray_images_counted_as_papers_do_gets_no_more_cells(
    tmp_path, protocol, gray_images, is_refused
):
    cell = Cell(name="a", overrides=["seed=1"], swept={"seed": "1"}, state="finished", objective=30.0)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "summary.json").write_text(
        json.dumps({"protocol": protocol, "scores": [{"set_name": "s", "gray_images": gray_images}]})
    )
    expected = pytest.raises(ValueError, match=r"1 cells of .*, among them a, .*hydra\.sweep\.dir=")
    with expected if is_refused else nullcontext():
        refuse_earlier_gray_rule(tmp_path, [cell, Cell(name="b", overrides=["seed=2"], swept={"seed": "2"})])


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


def test_long_and_equal_names_are_told_apart_and_stay_short():
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


def test_keys_are_as_short_as_their_neighbours_let_them_be():
    assert short_keys(["a.b.c", "a.d.c", "e"]) == {"a.b.c": "b.c", "a.d.c": "d.c", "e": "e"}


def test_the_newest_sweep_of_the_same_cells_is_found_in_whatever_order_they_were_typed(tmp_path):
    for name, day, overrides in (
        ("old", 1, ["seed=1,2", "scale=2"]),
        ("new", 2, ["scale=2", "seed=1,2"]),
        ("other", 3, ["scale=2", "seed=1,2,3"]),
    ):
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
    cell = Cell(
        name="seed-1", overrides=["seed=1", "scale=2"], swept={"seed": "1"}, state="finished", objective=30.5
    )
    cell.write(tmp_path)
    assert read_cells(tmp_path) == {identity(["scale=2", "seed=1"]): cell}
    (tmp_path / "seed-1" / "cell.json").write_text(json.dumps({"name": "seed-1", "colour": "red"}))
    with pytest.raises(ValueError, match=r"cell.json is no record of a cell"):
        read_cells(tmp_path)


def test_what_has_ended_and_nobody_buries_is_not_waited_for(tmp_path):
    """In a container a sweep is often process 1, which inherits orphans; here it adopts them likewise."""
    code = """
import ctypes, os, subprocess, sys
from pathlib import Path
from srlab.extensions.sweep import child
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
signals, child._PATIENCE_S, kill = [], 1.0, os.killpg
os.killpg = lambda group, number: (signals.append(number), kill(group, number))
orphan = [sys.executable, "-c", "import subprocess; subprocess.Popen(['sleep', '0.2'])"]
rest = {"environment": os.environ, "asked_to_stop": lambda: (0, 0), "shown": False}
child.supervise(orphan, log=Path(sys.argv[1]), **rest)
print(set(signals))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "log"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "{0}\n"


def test_a_lock_is_seen_by_others_and_ends_with_its_process(tmp_path):
    path = tmp_path / "lock"
    code = (
        "import sys; from pathlib import Path; from srlab.locks import take\n"
        "lease = take(Path(sys.argv[1])); print('taken', flush=True); sys.stdin.read()"
    )
    assert not is_held(path)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "taken\n"
        assert is_held(path)
        assert take(path) is None
        assert holder(path).startswith(f"process {other.pid} on ")
        other.kill()
    assert not is_held(path)
    lease = take(path)
    assert lease is not None
    assert holder(path).startswith(f"process {os.getpid()} on ")
    lease.release()
    lease.release()
    assert not is_held(path)


def test_a_mark_reaches_the_call_that_it_was_made_for_and_no_later_one(tmp_path):
    """A mark that a killed call left behind stops nothing."""
    first = sweep(tmp_path, launcher="submitit_slurm")
    first.write()
    mark_stop(first, 2, 1)
    assert StopWatch(sweep=first, call="first").asked() == (2, 1)
    second = sweep(tmp_path, launcher="submitit_slurm", call="second")
    second.write()
    assert StopWatch(sweep=second, call="second").asked() == (0, 0)


def test_cells_of_a_pool_stop_when_the_call_that_started_them_is_gone(tmp_path):
    """Those of a cluster's queue outlive it, until a newer call replaces it."""
    for launcher, after_its_end in (("joblib", (15, 1)), ("submitit_slurm", (0, 0))):
        ours = sweep(tmp_path, launcher=launcher)
        ours.write()
        lease = take(ours.lock)
        assert lease is not None
        assert StopWatch(sweep=ours, call="first").asked() == (0, 0)
        lease.release()
        assert StopWatch(sweep=ours, call="first").asked() == after_its_end
    sweep(tmp_path, launcher="submitit_slurm", call="newer").write()
    assert StopWatch(sweep=ours, call="first").asked() == (15, 1)


def test_a_watch_looks_a_few_times_a_second_however_often_it_is_asked(tmp_path):
    ours = sweep(tmp_path, launcher="submitit_slurm")
    ours.write()
    now = [0.0]
    watch = StopWatch(sweep=ours, call="first", clock=lambda: now[0])
    assert watch.asked() == (0, 0)
    mark_stop(ours, 15, 2)
    assert watch.asked() == (0, 0)
    now[0] = 1.0
    assert watch.asked() == (15, 2)
