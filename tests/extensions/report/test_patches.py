"""Worst patches: planted faults are found, scores follow their definition, pictures are the pixels."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from extensions.report.synthetic_runs import write_photograph, write_restoration, write_run
from srlab.extensions.report import compare, read_runs
from srlab.extensions.report.patches import select_patches, shown_configurations


def pixels(uri: str) -> np.ndarray:
    assert uri.startswith("data:image/png;base64,")
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))).astype(float)


def runs_with_images(tmp_path, *spots, noise=3.0):
    """One run for each spot, on the same photograph; the noise is six times as large at the spot."""
    photograph = tmp_path / "photo.png"
    write_photograph(photograph)
    folders = []
    for number, spot in enumerate(spots):
        folder = tmp_path / f"run{number}"
        entry = write_restoration(folder, photograph, noise=noise, seed=number, spot=spot)
        folders.append(write_run(folder, psnr=30.0 + number, images=[entry], n_share=number))
    return read_runs(folders)


def test_the_square_where_the_noise_is_comes_first(tmp_path):
    [patch] = select_patches(compare(runs_with_images(tmp_path, (64, 32))), count=1).patches
    assert (patch.image, patch.top, patch.left, patch.side) == ("Set5/photo", 64, 32, 64)
    assert patch.reason == "worst of all"


def test_the_largest_difference_is_where_one_alone_fails(tmp_path):
    """Both restore (0, 0) badly; the second is too bright at (96, 128)."""
    runs = runs_with_images(tmp_path, (0, 0), (0, 0))
    file = tmp_path / "run1" / "images" / "Set5" / "photo.png"
    restored = np.array(Image.open(file)).astype(int)
    restored[96:, 128:] += 8
    Image.fromarray(restored.clip(0, 255).astype(np.uint8)).save(file)
    patches = select_patches(compare(runs), count=4).patches
    assert {patch.reason: (patch.top, patch.left) for patch in patches}["largest difference"] == (96, 128)


def test_a_square_that_is_both_is_shown_once(tmp_path):
    [patch] = select_patches(compare(runs_with_images(tmp_path, (0, 0), None)), count=4).patches
    assert (patch.reason, patch.top, patch.left) == ("worst of all", 0, 0)


def test_psnr_of_a_square_is_that_of_its_luma(tmp_path):
    """By ITU-R BT.601 in numpy, from the pixels that the panel shows."""
    [patch] = select_patches(compare(runs_with_images(tmp_path, (64, 32))), count=1).patches
    reference = next(panel for panel in patch.panels if panel.title == "HR")
    restored = next(panel for panel in patch.panels if panel.number == 1)
    error = (pixels(restored.png) - pixels(reference.png)) @ np.array([65.481, 128.553, 24.966]) / 255
    assert restored.psnr == pytest.approx(10 * np.log10(255**2 / (error**2).mean()), abs=1e-4)
    assert reference.psnr is None


def test_pictures_are_the_files_pixels(tmp_path):
    runs = runs_with_images(tmp_path, (0, 0))
    [patch] = select_patches(compare(runs), count=1).patches
    source = np.array(Image.open(tmp_path / "photo.png")).astype(float)
    assert np.array_equal(pixels(patch.panels[-1].png), source[:64, :64])


def test_bicubic_is_shown_only_for_bicubic_degradation(tmp_path):
    runs = runs_with_images(tmp_path, (0, 0))
    titles = [panel.title for panel in select_patches(compare(runs), count=1).patches[0].panels]
    assert titles == ["bicubic", "1: run0", "HR"]
    blurred = replace(
        runs[0], config={**runs[0].config, "degradation._target_": "srlab.data.realistic.Realistic"}
    )
    titles = [panel.title for panel in select_patches(compare([blurred]), count=1).patches[0].panels]
    assert titles == ["1: run0", "HR"]


def test_of_many_configurations_best_worst_and_baseline_are_shown(tmp_path):
    runs = runs_with_images(tmp_path, *[(0, 0)] * 8)
    shown = shown_configurations(compare(runs, baseline="3"))
    assert len(shown) == 5
    assert {1, 3, 8} <= {each.number for each in shown}
    assert [each.number for each in shown] == sorted(each.number for each in shown)


def test_a_configuration_whose_score_is_nan_is_the_worst(tmp_path):
    runs = runs_with_images(tmp_path, *[(0, 0)] * 7)
    broken = replace(runs[6], scores={"Set5": {"psnr": float("nan")}})
    comparison = compare([*runs[:6], broken])
    assert [each.number for each in shown_configurations(comparison)] == [1, 4, 5, 6, 7]
    assert any("1 of 7 finished runs have NaN scores" in each for each in comparison.warnings)


def test_a_missing_source_is_noted(tmp_path):
    comparison = compare(runs_with_images(tmp_path, (0, 0)))
    (tmp_path / "photo.png").unlink()
    selection = select_patches(comparison, count=2)
    assert selection.patches == ()
    assert "Set5/photo is not among the patches: its source" in selection.notes[0]


def test_restorations_of_different_sizes_are_noted(tmp_path):
    comparison = compare(runs_with_images(tmp_path, (0, 0), (0, 0)))
    Image.new("RGB", (8, 8)).save(tmp_path / "run1" / "images" / "Set5" / "photo.png")
    assert "do not match" in select_patches(comparison, count=2).notes[0]


def test_images_smaller_than_a_square_are_shown_whole(tmp_path):
    photograph = tmp_path / "photo.png"
    write_photograph(photograph, height=48, width=32)
    entry = write_restoration(tmp_path / "run", photograph, noise=3.0)
    run = write_run(tmp_path / "run", psnr=30.0, images=[entry])
    [patch] = select_patches(compare(read_runs(run)), count=3).patches[:1]
    assert (patch.side, pixels(patch.panels[0].png).shape) == (32, (32, 32, 3))


def test_without_saved_images_there_are_no_patches(tmp_path):
    run = write_run(tmp_path / "run", psnr=30.0)
    assert select_patches(compare(read_runs(run)), count=8).patches == ()
