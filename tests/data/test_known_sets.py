from pathlib import Path

import pytest
from PIL import Image

from srlab.data.known_sets import BenchmarkSets, DemoPhotographs, Div2K, Flickr2K, Joined


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def names_of(source) -> list[str]:
    (image_set,) = source.find().sets
    return [file.name for file in image_set.files]


def test_the_demo_photographs_lie_in_the_wheel_and_no_scene_is_on_both_sides():
    train, held_out = names_of(DemoPhotographs(part="train")), names_of(DemoPhotographs(part="held_out"))
    assert {"chelsea", "rocket"} <= set(held_out)
    assert {"motorcycle_left", "motorcycle_right", "astronaut"} <= set(train)
    assert not set(train) & set(held_out)
    for part in ("train", "held_out"):
        for file in DemoPhotographs(part=part).find().sets[0].files:
            with Image.open(file.path) as image:
                assert min(image.size) >= 256, file.name


@pytest.mark.parametrize("layout", ["archives", "one folder", "nested"])
def test_div2k_is_found_in_its_layouts(tmp_path: Path, layout: str):
    for number in range(799, 804):
        sub = "DIV2K_train_HR" if number <= 800 else "DIV2K_valid_HR"
        folder = {"archives": sub, "one folder": ".", "nested": f"DIV2K/{sub}"}[layout]
        touch(tmp_path / folder / f"{number:04d}.png")
    assert names_of(Div2K(root=str(tmp_path), first=801, last=803)) == ["0801", "0802", "0803"]
    assert names_of(Div2K(root=str(tmp_path), first=799, last=801)) == ["0799", "0800", "0801"]
    with pytest.raises(ValueError, match=r"lacks 2 of 5 images, first 0804"):
        Div2K(root=str(tmp_path), first=801, last=805).find()


def test_missing_div2k_says_where_it_was_looked_for(tmp_path: Path):
    with pytest.raises(ValueError, match=r"DIV2K_train_HR.*SRLAB_DATA"):
        Div2K(root=str(tmp_path), first=1, last=800).find()


def test_joined_sets_prefix_their_names(tmp_path: Path):
    touch(tmp_path / "DIV2K_train_HR/0001.png")
    touch(tmp_path / "Flickr2K/Flickr2K_HR/000001.png")
    parts = [Div2K(root=str(tmp_path), first=1, last=1), Flickr2K(root=str(tmp_path))]
    assert names_of(Joined(name="DF2K", parts=parts)) == ["DIV2K/0001", "Flickr2K/000001"]


def test_absent_benchmarks_are_listed_and_none_at_all_is_an_error(tmp_path: Path):
    touch(tmp_path / "benchmark/Set5/HR/a.png")
    touch(tmp_path / "Set14/HR/b.png")
    found = BenchmarkSets(root=str(tmp_path), sets=["Urban100", "Set5", "Set14"]).find()
    assert [image_set.name for image_set in found.sets] == ["Set5", "Set14"]
    assert found.absent == ("Urban100",)
    with pytest.raises(ValueError, match=r"none of the benchmark sets .*Manga109/HR.*SRLAB_DATA"):
        BenchmarkSets(root=str(tmp_path), sets=["Manga109"]).find()
