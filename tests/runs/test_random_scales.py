"""train.py with random scales, then evaluate.py at seen and unseen ones, as typed."""

import csv
import json
import sys
from pathlib import Path

import pytest

from training_runs import TINY_ESC_LTE, assert_same_state, curve, killed_after_saving

STEPS = ("trainer.max_steps=4", "validate_every=2", "data.validation_scales=[2,2.5]")


def evaluate(monkeypatch, *words: str) -> Path:
    import evaluate as entry_point

    small = ["device=cpu", "latency.output_size=[32,32]", "latency.warmup=0", "latency.repeats=1"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *words, *small, "hydra.run.dir=scores"])
    entry_point.main()
    return Path("scores")


@pytest.mark.slow
def test_a_run_at_random_scales_is_resumed_exactly_and_scored_at_any_scale(
    train, photos, tmp_path, monkeypatch, capsys
):
    whole = train(*STEPS, into="whole", network=TINY_ESC_LTE)
    with killed_after_saving(2, "last"):
        train(*STEPS, into="halves", network=TINY_ESC_LTE)
    halves = train(f"resume={tmp_path / 'halves'}", into="halves")
    assert_same_state(whole, halves)
    assert curve(whole) == curve(halves)

    summary = json.loads((whole / "summary.json").read_text())
    assert [mean["set_name"] for mean in summary["scores"]] == ["validation_x2", "validation_x2.5"]
    means = [mean["scores"]["psnr"] for mean in summary["scores"]]
    assert summary["val/psnr"] == pytest.approx(sum(means) / 2, abs=1e-9)

    data = ["data=images", f"data.root={photos / 'validation'}"]
    scores = evaluate(monkeypatch, f"checkpoint={whole}", "scale=[2,2.5,5]", *data)
    rows = list(csv.DictReader((scores / "evaluation.csv").open()))
    found = [(row["scale"], row["in training"]) for row in rows]
    assert found == [("2", "seen"), ("2.5", "seen"), ("5", "unseen")]
    assert [float(row["psnr"]) for row in rows[:2]] == pytest.approx(means, abs=1e-9)
    assert "costs are counted at whole scales: left out at x2.5" in capsys.readouterr().out
    assert [row["multiply_adds"] == "" for row in rows] == [False, True, False]
    assert "x5 is unseen: the training had x1 to x4" in (scores / "evaluation.md").read_text()


def test_a_network_of_one_scale_is_scored_between_its_scales_by_resizing(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    network = ["model=edsr_baseline", "model.dim=4", "model.depth=1"]
    data = ["data=images", f"data.root={photos / 'validation'}", f"paths.cache={tmp_path / 'cache'}"]
    scores = evaluate(monkeypatch, *network, "scale=2.5", "metrics=[psnr]", *data)
    (row,) = json.loads((scores / "evaluation.json").read_text())["rows"]
    assert row["scale"] == 2.5
    said = "the network ran at x3, and MATLAB's bicubic interpolation resized its results to x2.5"
    assert said in (scores / "evaluation.md").read_text()
    with pytest.raises(SystemExit, match="2"):
        evaluate(monkeypatch, *network, "scale=[2,2]", *data)
