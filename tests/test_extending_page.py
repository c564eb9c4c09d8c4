"""The examples of docs/extending.md do what the page says."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch

from image_files import save_noise
from training_runs import ROOT

PAGE = (ROOT / "docs/extending.md").read_text()
# By the path in their first line.
EXAMPLES = {
    path: code for path, code in re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE, re.DOTALL) if "/" in path
}


def test_the_metric_is_the_mean_of_absolute_differences_in_8_bit_steps():
    names: dict = {}
    exec(EXAMPLES["src/srlab/metrics/mae.py"], names)
    metric = names["METRIC"]
    reference = torch.randint(0, 200, (2, 3, 4, 5)).double()
    restored = reference + torch.tensor([3.0, -7.0]).view(2, 1, 1, 1)
    assert metric(restored, reference, peak=255).tolist() == [3, 7]
    assert metric(restored / 255, reference / 255, peak=1).tolist() == pytest.approx([3, 7])


def test_the_loss_is_zero_without_a_difference_and_positive_with_one():
    names: dict = {}
    exec(EXAMPLES["src/srlab/losses/spectral.py"], names)
    loss, image = names["SpectralLoss"](weight=0.05), torch.rand(2, 3, 8, 8)
    assert loss(image, image) == pytest.approx(0, abs=1e-6)
    assert loss(image, image + 0.1) > 0.001


@pytest.mark.slow
def test_the_data_set_is_scored(tmp_path):
    save_noise(tmp_path / "images/test/a.png", 48, 60, 3, seed=0)
    (tmp_path / "conf/data").mkdir(parents=True)
    node = EXAMPLES["conf/data/posters.yaml"].replace("srlab.data.posters.", "posters.")
    (tmp_path / "conf/data/posters.yaml").write_text(node)
    (tmp_path / "posters.py").write_text(EXAMPLES["src/srlab/data/posters.py"])
    words = ["--config-dir", tmp_path / "conf", "model=bicubic", "scale=2", "hydra.run.dir=scores"]
    words += ["data=posters", "data.root=images"]
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, ROOT / "evaluate.py", *words]
    subprocess.run(command, cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": paths})
    (evaluation,) = json.loads((tmp_path / "scores/evaluation.json").read_text())["evaluations"]
    assert {(each["set_name"], each["images"]) for each in evaluation["report"]["means"]} == {("test", 1)}
