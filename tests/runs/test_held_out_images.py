"""What is wrong with an image that is scored is said before anything is learnt or scored."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from training_runs import ROOT, in_process, write_photos

# 8x8 less a border of 2 on each side has no room for SSIM's window of 11x11.
FAULT = "icon measures 8x8, too small to score: 15x15 pixels are needed"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    photos = write_photos(tmp_path / "photos")
    Image.new("RGB", (8, 8)).save(photos / "validation/icon.png")
    return photos


def test_a_run_does_not_begin_with_an_image_that_cannot_be_scored(photos, tmp_path, monkeypatch, capsys):
    train = in_process(photos, tmp_path, monkeypatch)
    with pytest.raises(SystemExit, match="2"):
        train("trainer.max_steps=1", "validate_every=1")
    assert FAULT in capsys.readouterr().out
    assert not list((tmp_path / "run").rglob("*.ckpt"))


def test_a_run_leaves_it_out_where_it_may(photos, tmp_path, monkeypatch, capsys):
    train = in_process(photos, tmp_path, monkeypatch)
    run = train("trainer.max_steps=1", "validate_every=1", "data.on_bad_image=skip")
    entries = json.loads((run / "summary.json").read_text())["images"]
    assert [entry["name"] for entry in entries] == ["0", "1"]
    assert FAULT in capsys.readouterr().out


def test_scoring_names_it_before_the_first_image(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(tmp_path)
    import evaluate as entry_point

    words = ["model=bicubic", "scale=2", "data=images", f"data.root={photos}", "paths.cache=cache"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *words, "save_images=true", "hydra.run.dir=scores"])
    with pytest.raises(SystemExit, match="2"):
        entry_point.main()
    assert FAULT.replace("icon", "validation/icon") in capsys.readouterr().out
    assert not (tmp_path / "scores/images").exists()
