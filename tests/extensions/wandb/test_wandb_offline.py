"""What a run logs to W&B, read from the transaction log that the client writes when it is offline."""

import csv
import json
import shutil
import subprocess
import sys

import pytest
import wandb
from omegaconf import OmegaConf

from srlab.extensions.wandb.dashboard import Dashboard, specification
from srlab.runs.contract import SCHEMA_KEY
from tiny_runs import TINY, train, write_photos
from wandb_log import read_logs, shown_keys
from wandb_server import wandb_server


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A sweep's cell that finished and was then resumed with more steps."""
    sweep = tmp_path_factory.mktemp("sweep")
    (sweep / "sweep.json").write_text("{}")
    photos = write_photos(tmp_path_factory.mktemp("photos"))
    cell = sweep / "seed-1"
    train(*TINY, *photos, "logger.wandb.tags=[mine]", "logger.wandb.project=lab", f"hydra.run.dir={cell}")
    train(f"resume={cell}", "trainer.max_steps=6")
    wandb.teardown()  # as the end of a program does: the client's process writes what it holds
    return cell


@pytest.fixture(scope="module")
def logs(run):
    return read_logs(run)


@pytest.fixture(scope="module")
def summary(run):
    return json.loads((run / "summary.json").read_text())


def test_both_processes_wrote_the_same_run_and_ended_it(run, logs):
    kept = OmegaConf.load(run / "config.yaml").logger.wandb.id
    assert [(log.run["id"], log.exit_code) for log in logs] == [(kept, 0)] * 2


def test_project_group_and_tags_find_the_run(run, logs):
    for log in logs:
        assert (log.run["project"], log.run["name"]) == ("lab", "elan_demo_x2")
        assert log.run["group"] == run.parent.name
        assert log.run["tags"] == sorted(["elan_demo", "x2", "folder", "basicsr", "mine"])


def test_the_configuration_is_the_one_that_is_kept(run, logs):
    saved = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"), resolve=True)
    told = {key: value for key, value in logs[-1].config.items() if key != "_wandb"}
    del saved[SCHEMA_KEY]
    saved["resume"] = told["resume"]  # the second process was called with it
    saved["paths"] = told["paths"]  # written as absolute
    assert told.keys() == saved.keys()
    for key, value in saved.items():
        assert told[key] == value, key


def test_the_curve_is_that_of_the_csv_file(run, logs):
    """Every value of every step; the axis counts finished steps."""
    told = {}
    for row in (row for log in logs for row in log.history):
        values = {
            key: value for key, value in row.items() if not key.startswith(("_", "comparison", "restored"))
        }
        told.setdefault(values.pop("trainer/global_step"), {}).update(values)
    with (run / "metrics.csv").open(newline="") as file:
        rows = {int(row.pop("step")): row for row in csv.DictReader(file)}
    assert set(rows) == {1, 2, 3, 4, 5, 6}
    for step, row in rows.items():
        expected = {key: float(value) for key, value in row.items() if value}
        assert {key: value for key, value in told[step].items() if key != "epoch"} == pytest.approx(expected)


def test_the_summary_holds_the_scores_of_the_best_checkpoint_and_of_bicubic(logs, summary):
    told = logs[-1].summary
    for prefix, means in (("best", summary["scores"]), ("bicubic", summary["bicubic"])):
        for metric in ("psnr", "ssim"):
            assert told[f"{prefix}/val/validation/{metric}"] == means[0]["scores"][metric]
            assert told[f"{prefix}/val/{metric}"] == means[0]["scores"][metric]
    gain = summary["scores"][0]["scores"]["psnr"] - summary["bicubic"][0]["scores"]["psnr"]
    assert told["best/gain"] == pytest.approx(gain)
    assert (told["step"], told["best/step"]) == (6, summary["step"])
    assert (told["gray_images"], told["gray_rule"]) == (0, "replicate")
    for key in ("commit", "device", "seed"):
        assert told[f"conditions/{key}"] == summary["conditions"][key]


def test_the_summary_holds_what_the_network_costs(run, logs):
    told, costs = logs[-1].summary, json.loads((run / "costs.json").read_text())
    assert told["params/all"] == costs["parameters"]["all"]
    assert told["params/trainable"] == costs["parameters"]["trainable"]
    assert told["multiply_adds/720x1280"] == costs["multiply_adds"]
    for key, name in (
        ("latency_ms", "median_ms"),
        ("latency_ms_p10", "p10_ms"),
        ("latency_ms_p90", "p90_ms"),
    ):
        assert told[f"{key}/32x32"] == costs["latency"][name]
    assert told["peak_memory_mib/32x32"] == costs["memory"]["peak_mib"]


def test_the_summary_keeps_the_best_validation_during_a_run(logs):
    """So that killed runs have it as well."""
    for name in ("val/psnr", "val/ssim"):
        assert logs[0].metrics[name]["summary"] == ["max", "last"]
        assert logs[0].metrics[name]["step"] == "trainer/global_step"


def test_pictures_go_with_the_run(run, logs, summary):
    """Byte for byte those of the run's folder."""
    shown = {}
    for row in logs[-1].history:
        for key in [key for key in row if key.endswith("/filenames")]:
            shown.setdefault(key.removesuffix("/filenames"), []).extend(row[key])
    restored = [entry["restored"] for entry in summary["images"]]
    sources = {
        "comparison": ["comparison.png"],
        # a key each: W&B distorts pictures of unlike sizes below one
        **{f"restored/{number}": [name] for number, name in enumerate(restored, 1)},
    }
    assert shown.keys() == sources.keys()
    files = max((run / "wandb").glob("offline-run-*")) / "files"
    for key, names in sources.items():
        assert [(files / file).read_bytes() for file in shown[key]] == [
            (run / name).read_bytes() for name in names
        ]
        assert set(shown[key]) <= set(logs[-1].files)


def test_a_dashboard_shows_nothing_but_what_runs_log(logs):
    pytest.importorskip("wandb_workspaces", reason="needs the extra dashboard")
    keys = shown_keys(specification(Dashboard(project="lab", sets=("validation",), output_size="32x32")))
    keys.remove("restored/4")  # three images are restored
    rows = {key.removesuffix("/filenames") for log in logs for row in log.history for key in row}
    assert keys <= rows | set(logs[-1].summary)


@pytest.mark.slow
def test_sync_joins_what_both_processes_wrote(run, fresh_wandb, tmp_path):
    """By W&B's own command against a server: one run, whose rows continue where the first process stopped."""
    copy = shutil.copytree(run / "wandb", tmp_path / "wandb", symlinks=True)
    folders = sorted(map(str, copy.glob("offline-run-*")))
    with wandb_server() as received:
        fresh_wandb.setenv("WANDB_BASE_URL", received.url)
        fresh_wandb.setenv("WANDB_API_KEY", "0" * 40)
        command = [sys.executable, "-m", "wandb", "sync", *folders]
        subprocess.run(command, check=True, capture_output=True, timeout=120, cwd=tmp_path)
    assert len(received.known) == 1
    rows = [row["_step"] for row in received.history]
    assert rows == list(range(len(rows)))
    assert {row["trainer/global_step"] for row in received.history} == {1, 2, 3, 4, 5, 6}


@pytest.mark.slow
def test_of_two_processes_only_the_first_talks_to_wandb(tmp_path, forked):
    photos, run = write_photos(tmp_path / "photos"), tmp_path / "run"
    forked.finish([*TINY, *photos, "trainer.devices=2", f"hydra.run.dir={run}"], cwd=tmp_path)
    (log,) = read_logs(run)
    assert log.exit_code == 0
    assert len(list(tmp_path.rglob("*.wandb"))) == 1
    assert log.summary["best/val/psnr"] == json.loads((run / "summary.json").read_text())["val/psnr"]
