"""An online run, by what reaches a server."""

import csv
import json

import pytest

from tiny_runs import TINY, train, write_photos
from wandb_server import wandb_server


@pytest.mark.slow
def test_curve_summary_and_pictures_reach_the_server(fresh_wandb, tmp_path, capsys):
    """One run, although it is stopped and resumed; oracle: its files."""
    photos, run = write_photos(tmp_path / "photos"), tmp_path / "run"
    fresh_wandb.setenv("WANDB_API_KEY", "0" * 40)
    with wandb_server() as received:
        fresh_wandb.setenv("WANDB_BASE_URL", received.url)
        train(*TINY, *photos, "logger.wandb.mode=online", f"hydra.run.dir={run}")
        train(f"resume={run}", "trainer.max_steps=6")
    assert len(received.known) == 1
    with (run / "metrics.csv").open(newline="") as file:
        rows = {int(row.pop("step")): row for row in csv.DictReader(file)}
    told = {}
    for row in received.history:
        told.setdefault(row["trainer/global_step"], {}).update(row)
    for step, row in rows.items():
        for key, value in row.items():
            assert not value or told[step][key] == pytest.approx(float(value)), (step, key)
    summary = json.loads((run / "summary.json").read_text())
    assert received.summary["best/val/psnr"] == summary["val/psnr"]
    assert received.summary["params/all"] == summary["conditions"]["costs"]["parameters"]["all"]
    uploaded = set(received.files.values())
    assert (run / "comparison.png").read_bytes() in uploaded
    assert (run / summary["images"][0]["restored"]).read_bytes() in uploaded
    assert received.exit_code == 0
    assert f"W&B: {received.url}" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_without_its_server_trains_to_the_end(fresh_wandb, tmp_path, capsys):
    photos, run = write_photos(tmp_path / "photos"), tmp_path / "run"
    fresh_wandb.setenv("WANDB_API_KEY", "0" * 40)
    fresh_wandb.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    online = ("logger.wandb.mode=online", "logger.wandb.init_timeout_s=1")
    train(*TINY, *photos, *online, f"hydra.run.dir={run}")
    assert (run / "summary.json").exists()
    printed = capsys.readouterr().out
    assert printed.count("this run is logged offline") == 1
    assert printed.count("wandb sync") == 2  # when it is said, and among what to do next
