"""Copies made here of photographs are found where they were put, and different photographs are not."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from srlab.data.images import read_image
from srlab.data.known_sets import demo_photographs
from srlab.extensions.console.main import main
from srlab.extensions.overlap.search import find_overlaps

PHOTOGRAPHS = {file.name: file.path for file in demo_photographs("train").files}
TESTS = [PHOTOGRAPHS[name] for name in ("astronaut", "coffee", "motorcycle_left")]


def read(name: str) -> np.ndarray:
    return read_image(PHOTOGRAPHS[name]).transpose(1, 2, 0)


def save_jpeg(path: Path, pixels: np.ndarray) -> Path:
    """Compressed, as images from the web are."""
    Image.fromarray(pixels).save(path, quality=80)
    return path


def overlap_of(path: Path):
    ((_, found),) = find_overlaps([path], TESTS)
    return found


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.6])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_resized_part_is_found_with_its_scale(tmp_path, factor, mirrored):
    part = read("astronaut")[60:440, 90:500]
    part = cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA if factor < 1 else 2)
    (found,) = overlap_of(save_jpeg(tmp_path / "part.jpg", part[:, ::-1] if mirrored else part))
    assert found.test == PHOTOGRAPHS["astronaut"]
    assert found.scale == pytest.approx(1 / factor, rel=0.01)
    assert found.correlation > 0.85


def test_a_training_image_that_contains_a_test_image_is_found(tmp_path):
    canvas = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    test = read("coffee")
    canvas[200 : 200 + test.shape[0], 300 : 300 + test.shape[1]] = test
    (found,) = overlap_of(save_jpeg(tmp_path / "canvas.jpg", canvas))
    assert found.test == PHOTOGRAPHS["coffee"]
    assert found.scale == pytest.approx(1.0, rel=0.01)


def test_equal_pixels_are_found_by_their_hash_even_if_flat(tmp_path):
    for name in ("train.png", "test.bmp"):
        Image.new("RGB", (40, 30), (10, 20, 30)).save(tmp_path / name)
    ((_, (found,)),) = find_overlaps([tmp_path / "train.png"], [tmp_path / "test.bmp"])
    assert (found.correlation, found.scale) == (1.0, 1.0)


def test_different_photographs_and_noise_do_not_overlap(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    Image.new("L", (64, 64)).save(tmp_path / "black.png")
    others = [path for name, path in PHOTOGRAPHS.items() if path not in TESTS and name != "motorcycle_right"]
    found = dict(find_overlaps([*others, tmp_path / "noise.png", tmp_path / "black.png"], TESTS))
    assert len(found) == len(others) + 2
    assert not any(found.values())


def test_the_command_lists_overlaps_and_ends_with_status_1(tmp_path, capsys):
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    save_jpeg(tmp_path / "train/part.jpg", read("motorcycle_left")[:200, :300])
    save_jpeg(tmp_path / "test/cat.jpg", read("motorcycle_left"))
    save_jpeg(tmp_path / "test/cup.jpg", read("coffee"))
    words = ["data", "overlap", str(tmp_path / "train"), "--against", str(tmp_path / "test")]
    with pytest.raises(SystemExit, match="1"):
        main(words)
    printed = capsys.readouterr().out
    assert f"part.jpg overlaps {tmp_path}/test/cat.jpg: correlation 0.9" in printed
    assert "1 of 1 images overlap with one of 2 test images" in printed
    assert main([*words, "--threshold", "2"]) == 2
    assert main(["data", "overlap", str(tmp_path / "absent"), "--against", str(tmp_path / "test")]) == 2
    assert "name images or a folder of them" in capsys.readouterr().err
    (tmp_path / "train/part.jpg").unlink()
    save_jpeg(tmp_path / "train/other.jpg", read("astronaut"))
    assert main(words) == 0
    assert "0 of 1 images overlap" in capsys.readouterr().out


def test_unreadable_images_are_named(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"bad\.png"):
        list(find_overlaps([tmp_path / "bad.png"], TESTS))
    with pytest.raises(ValueError, match="no test images"):
        list(find_overlaps([tmp_path / "bad.png"], []))
