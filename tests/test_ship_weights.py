"""benchmarks/ship_weights.py --scores: the record that comes with weights is of these weights."""

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
import yaml
from benchmarks import ship_weights

from srlab.checkpoints import read_checkpoint, shipped
from srlab.checkpoints.shipped import shipped_file, shipped_weights
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
    scores = {each["set_name"]: each["scores"] for each in found["means"]}
    (row,) = re.findall(r"\*\*elan_tiny\*\*[^|]*\| 110 (.*)", (ROOT / "docs/training.md").read_text())
    cells = [f"{scores[name]['psnr']:.2f} {scores[name]['ssim']:.4f}" for name in ("Set5", "Set14", "B100")]
    assert row == f"| {' | '.join(cells)} |".replace(" 0.", " .")


def test_scores_of_another_checkpoint_are_refused(record):
    with pytest.raises(ValueError, match=r"best\.ckpt, step 7 was scored, but srlab comes with step \d+"):
        record("best.ckpt, step 7")


def strings(value) -> Iterator[str]:
    """Those in dictionaries and lists of any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from strings([*value.keys(), *value.values()])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from strings(item)


def test_what_is_committed_names_no_folder_of_the_machine_it_was_made_on():
    weights = shipped_weights()["elan_tiny"].values()
    # "file" is where it is read
    descriptions = [{**read_checkpoint(path).description, "file": None} for path in weights]
    states = [torch.load(path, weights_only=True) for path in (ROOT / "training").rglob("*.ckpt")]
    configs = [yaml.safe_load(path.read_text()) for path in (ROOT / "training").rglob("*.yaml")]
    assert len(descriptions) == len(states) == len(configs) > 0
    found = list(strings([descriptions, states, configs]))
    assert "data/elan_tiny/train" in found
    assert [each for each in found if each.startswith(("/", "~"))] == []


def test_paths_are_replaced_at_their_beginning_only():
    places = [("/data/runs/a", "run"), ("/data", "data")]
    given = {"/data/a": ["/data/runs/a/best.ckpt", "/data", "/database/x", 3], "b": ("see /data", None)}
    expected = {"data/a": ["run/best.ckpt", "data", "/database/x", 3], "b": ("see /data", None)}
    assert ship_weights.portable(given, places) == expected
