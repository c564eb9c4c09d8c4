from pathlib import Path

import pytest
from PIL import Image

from image_files import touch
from srlab.data import known_sets
from srlab.data.known_sets import benchmark_images, demo_photographs, df2k_images, div2k_images
from srlab.data.sources import ImageSet


def names_of(image_set: ImageSet) -> list[str]:
    return [file.name for file in image_set.files]


def test_the_demo_photographs_lie_in_the_wheel_and_no_scene_is_on_both_sides():
    train, held_out = demo_photographs("train"), demo_photographs("held_out")
    assert {"chelsea", "rocket"} <= set(names_of(held_out))
    assert {"motorcycle_left", "motorcycle_right", "astronaut"} <= set(names_of(train))
    assert not set(names_of(train)) & set(names_of(held_out))
    for file in (*train.files, *held_out.files):
        with Image.open(file.path) as image:
            assert min(image.size) >= 256, file.name


@pytest.mark.parametrize("layout", ["archives", "one folder", "nested"])
def test_div2k_is_found_in_its_layouts(tmp_path: Path, layout: str):
    for number in range(799, 804):
        sub = "DIV2K_train_HR" if number <= 800 else "DIV2K_valid_HR"
        folder = {"archives": sub, "one folder": ".", "nested": f"DIV2K/{sub}"}[layout]
        touch(tmp_path / folder / f"{number:04d}.png")
    assert names_of(div2k_images(str(tmp_path), 801, 803)) == ["0801", "0802", "0803"]
    assert names_of(div2k_images(str(tmp_path), 799, 801)) == ["0799", "0800", "0801"]
    with pytest.raises(ValueError, match=r"2 of the DIV2K images 0801 to 0805 .*first 0804"):
        div2k_images(str(tmp_path), 801, 805)


def test_missing_div2k_says_where_it_was_looked_for(tmp_path: Path):
    with pytest.raises(ValueError, match=r"DIV2K_train_HR.*SRLAB_DATA"):
        div2k_images(str(tmp_path), 1, 800)


def test_the_names_of_df2k_start_with_their_set(tmp_path: Path, monkeypatch):
    div2k = div2k_images
    monkeypatch.setattr(known_sets, "div2k_images", lambda root, first, _last: div2k(root, first, 1))
    touch(tmp_path / "DIV2K_train_HR/0001.png")
    touch(tmp_path / "Flickr2K/Flickr2K_HR/000001.png")
    assert names_of(df2k_images(str(tmp_path))) == ["DIV2K/0001", "Flickr2K/000001"]


@pytest.mark.parametrize("base", [".", "benchmark"])
@pytest.mark.parametrize("layout", ["Set5/HR", "Set5/original", "Set5/GTmod12", "Set5_HR", "Set5"])
def test_benchmarks_are_found_in_the_layouts_that_people_have(tmp_path: Path, layout: str, base: str):
    touch(tmp_path / base / layout / "a.png")
    lr_file = touch(tmp_path / base / "Set5/LR_bicubic/X2/ax2.png")
    found = benchmark_images(str(tmp_path), "Set5")
    assert names_of(found) == ["a"]
    assert found.lr_path("a", 2) == (None if layout == "Set5_HR" else lr_file)


def test_an_unknown_layout_of_a_benchmark_names_the_known_ones(tmp_path: Path):
    """SelfExSR's has the same images once for each scale."""
    for scale in (2, 3):
        touch(tmp_path / f"Set5/image_SRF_{scale}/img_001_SRF_{scale}_HR.png")
    with pytest.raises(ValueError, match=r"subfolders only; .* in one of Set5/HR, .*, Set5_HR, Set5"):
        benchmark_images(str(tmp_path), "Set5")


def test_a_benchmark_that_is_absent_says_where_it_was_looked_for(tmp_path: Path):
    absent = benchmark_images(str(tmp_path), "Manga109")
    assert not absent.files
    assert f"tried {tmp_path / 'benchmark/Manga109/HR'}" in absent.if_none_usable
    assert "SRLAB_DATA" in absent.if_none_usable
