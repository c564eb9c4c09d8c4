"""Reading what runs left: every state is shown as what it is, and damage is named, never dropped."""

import json

import pytest

from extensions.report.synthetic_runs import write_cell, write_run, write_sweep
from srlab.extensions.report import read_runs
from srlab.extensions.sweep.records import LOCK_NAME
from srlab.locks import take
from srlab.runs.folder import locked_run


def test_a_run_is_read_with_all_that_it_left(tmp_path):
    run = write_run(tmp_path / "run", psnr={"Set5": 30.5, "Set14": 27.5}, seed=3, n_share=1)
    [found] = read_runs(run)
    assert (found.state, found.seed, found.psnr) == ("finished", 3, 29.0)
    assert found.scores["Set14"] == {"psnr": 27.5, "ssim": 0.9}
    assert found.config["model.scale"] == 2, "interpolations are resolved"
    assert found.config["model.window_sizes"] == [4, 8, 16]
    assert {"model.scale", "data.seed", "callbacks.best.dirpath"} <= found.derived
    assert "seed" not in found.derived
    assert found.costs.output_size == (720, 1280)
    assert found.curves["val/psnr"][0] == (20, 30.5 - 3 / 2)
    assert len(found.curves["train/loss"]) == 10


@pytest.mark.parametrize(
    ("noted", "has_scores", "is_locked", "state"),
    [
        ("finished", True, False, "finished"), ("failed", False, False, "failed"),
        ("stopped", False, False, "stopped"), ("over_limit", False, False, "over_limit"),
        ("running", False, True, "running"), ("running", False, False, "killed"),
        ("running", True, False, "finished"), ("failed", True, False, "finished"),
        ("finished", False, False, "unfinished"),
        (None, False, False, "unfinished"), (None, True, False, "finished"), (None, False, True, "running"),
    ],
)  # fmt: skip
def test_states_are_what_the_files_say(tmp_path, noted, has_scores, is_locked, state):
    run = write_run(tmp_path / "run", psnr=30.0 if has_scores else None)
    if noted is not None:
        write_cell(run, swept={"seed": "0"}, state=noted)
    if is_locked:
        with locked_run(run):
            [found] = read_runs(run)
    else:
        [found] = read_runs(run)
    assert (found.state, found.finished) == (state, state == "finished")


def test_a_cell_whose_process_is_just_starting_is_not_taken_for_a_killed_one(tmp_path):
    """It locks the run only once it is configured; its sweep holds the cell's own lock before."""
    sweep = write_sweep(tmp_path / "sweep", {"model.n_share": ["0"]})
    write_cell(sweep / "a", swept={"model.n_share": "0"}, state="running")
    lease = take(sweep / "a" / LOCK_NAME)
    assert lease is not None
    with lease:
        [starting] = read_runs(sweep)
    [killed] = read_runs(sweep)
    assert (starting.state, killed.state) == ("running", "killed")


def test_a_failed_cell_without_a_configuration_is_there_with_its_message(tmp_path):
    sweep = write_sweep(tmp_path / "sweep", {"model.n_share": ["0", "1"]})
    write_cell(sweep / "a", swept={"model.n_share": "0"}, state="failed", message="out of memory")
    write_cell(sweep / "b", swept={"model.n_share": "1"})
    write_run(sweep / "b", psnr=30.0)
    failed, finished = read_runs(sweep)
    assert (failed.state, failed.message, failed.swept) == ("failed", "out of memory", {"model.n_share": "0"})
    assert finished.finished


def test_cells_of_a_grid_that_never_began_are_there(tmp_path):
    sweep = write_sweep(tmp_path / "sweep", {"model.n_share": ["0", "1"], "seed": ["1", "2"]})
    write_cell(sweep / "a", swept={"model.n_share": "1", "seed": "1"})
    missing = {
        (run.swept["model.n_share"], run.swept["seed"])
        for run in read_runs(sweep)
        if run.state != "unfinished"
    }
    assert missing == {("0", "1"), ("0", "2"), ("1", "2")}


def test_a_search_has_no_cells_that_never_began(tmp_path):
    sweep = write_sweep(tmp_path / "sweep", {"model.n_share": ["choice(0,1)"]})
    write_cell(sweep / "a", swept={"model.n_share": "1"})
    assert len(read_runs(sweep)) == 1


def test_folders_of_runs_are_searched_and_each_run_counts_once(tmp_path):
    first = write_run(tmp_path / "outputs" / "elan" / "2026-11-21", psnr=30.0)
    write_run(tmp_path / "outputs" / "swinir" / "2026-11-22", psnr=30.0)
    (first / "wandb" / "inner").mkdir(parents=True)
    (first / "wandb" / "inner" / "config.yaml").write_text("a: 1")
    assert len(read_runs([tmp_path / "outputs", first])) == 2


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("summary.json", "{"), ("summary.json", "[1]"), ("summary.json", '{"scores": [{"psnr": 1}]}'),
        ("costs.json", "nothing"), ("config.yaml", "a: [1"), ("config.yaml", "a: ${b.c}"),
        ("metrics.csv", "step,val/psnr\nten,30\n"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named_and_the_rest_is_read(tmp_path, file, content):
    run = write_run(tmp_path / "run", psnr=30.0, params=7)
    (run / file).write_text(content)
    [found] = read_runs(run)
    assert any(file in problem for problem in found.problems)
    assert found.costs.params == 7, "costs stand in the summary, too"


def test_infinite_and_missing_values_of_a_curve_are_left_out(tmp_path):
    run = write_run(tmp_path / "run", psnr=30.0)
    (run / "metrics.csv").write_text("step,train/loss,val/psnr\n1,inf,\n2,0.5,30\n3,nan,\n")
    [found] = read_runs(run)
    assert found.curves == {"train/loss": ((2, 0.5),), "val/psnr": ((2, 30.0),)}


def test_summaries_of_earlier_versions_without_images_are_read(tmp_path):
    run = write_run(tmp_path / "run", psnr=30.0)
    summary = json.loads((run / "summary.json").read_text())
    del summary["images"]
    (run / "summary.json").write_text(json.dumps(summary))
    assert read_runs(run)[0].images == ()


def test_a_place_without_runs_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no runs in .*empty: none of its folders has any of cell\.json"):
        read_runs(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="absent is not a folder; name a run, a sweep"):
        read_runs(tmp_path / "absent")
