"""benchmarks/ship_weights.py --scores: the record that comes with weights is of these weights."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
from benchmarks import ship_weights

from srlab.checkpoints import shipped
from srlab.checkpoints.shipped import shipped_file
from training_runs import ROOT


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Writes the record from an evaluation of this checkpoint; the weights are elan_tiny's x2."""
    weights = Path(shutil.copy(shipped_file("elan_tiny", 2), tmp_path))
    monkeypatch.setattr(shipped, "_FOLDER", tmp_path)
    evaluations = json.loads((ROOT / "docs/results/scores-elan_tiny-x2.json").read_text())

    def write(checkpoint=None):
        if checkpoint is not None:
            evaluations["evaluations"][0]["conditions"]["checkpoint"] = checkpoint
        (tmp_path / "evaluation.json").write_text(json.dumps(evaluations))
        monkeypatch.setattr(sys, "argv", ["", "--scores", str(tmp_path / "evaluation.json")])
        ship_weights.main()
        return json.loads((tmp_path / "elan_tiny_x2.json").read_text()), weights

    return write


def test_it_is_what_evaluate_wrote_and_names_the_file(record):
    found, weights = record()
    assert found["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert {each["set_name"]: each["scores"]["psnr"] for each in found["means"]} == pytest.approx(
        {"Set5": 36.7317, "Set14": 32.4868, "B100": 31.3421}, abs=1e-4
    )


def test_scores_of_another_checkpoint_are_refused(record):
    with pytest.raises(ValueError, match=r"best\.ckpt, step 7 was scored, but srlab comes with step \d+"):
        record("best.ckpt, step 7")
