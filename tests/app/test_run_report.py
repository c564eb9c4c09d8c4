"""What a finished run leaves for others to compare it by."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import structural_similarity

from tiny_runs import TINY, train, write_photos


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("report")
    photos = write_photos(root / "photos")
    train(*TINY, *photos, "logger=csv", "saved_images=2", "seed=7", f"hydra.run.dir={root / 'run'}")
    return root / "run"


@pytest.fixture(scope="module")
def summary(run):
    return json.loads((run / "summary.json").read_text())


def luma(path: Path, border: int) -> np.ndarray:
    """BT.601 studio swing, as MATLAB's rgb2ycbcr."""
    pixels = np.asarray(Image.open(path), dtype=np.float64)
    values = pixels @ (np.array([65.481, 128.553, 24.966]) / 255) + 16
    return values[border:-border, border:-border]


def test_each_validation_image_has_an_entry_and_the_first_are_saved(run, summary):
    entries = summary["images"]
    assert [(entry["set_name"], entry["name"]) for entry in entries] == [
        ("validation", name) for name in ("0", "1", "2")
    ]
    restored = [entry["restored"] for entry in entries]
    assert restored[2] is None
    assert {path.relative_to(run).as_posix() for path in (run / "images").rglob("*.png")} == set(restored[:2])


def test_saved_images_score_what_the_entry_says(run, summary):
    """Oracle: PSNR in closed form and scikit-image's SSIM, from the two files alone."""
    for entry in summary["images"][:2]:
        source = Path(entry["hr_file"])
        assert source.is_absolute()
        ours, reference = luma(run / entry["restored"], 2), luma(source, 2)
        psnr = 10 * np.log10(255**2 / np.mean((ours - reference) ** 2))
        assert entry["scores"]["psnr"] == pytest.approx(psnr, abs=1e-3)
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        _, ssim = structural_similarity(ours, reference, data_range=255, full=True, **options)
        # it pads where the protocol crops: leave out half of its window of 11
        assert entry["scores"]["ssim"] == pytest.approx(ssim[5:-5, 5:-5].mean(), abs=1e-5)


def test_entries_average_to_the_scores_of_the_sets(summary):
    for field, means in (("scores", summary["scores"]), ("bicubic", summary["bicubic"])):
        for metric in ("psnr", "ssim"):
            values = [entry[field][metric] for entry in summary["images"]]
            assert np.mean(values) == pytest.approx(means[0]["scores"][metric], abs=1e-9)


def test_conditions_name_device_and_seed(summary):
    assert summary["conditions"]["seed"] == 7
    assert summary["conditions"]["device"] == summary["conditions"]["costs"]["latency"]["device"]
