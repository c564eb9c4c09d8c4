from pathlib import Path

import pytest

from srlab.data.sources import Folder, find_images


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def names_of(source) -> list[str]:
    (image_set,) = source.find().sets
    return [file.name for file in image_set.files]


def test_images_come_in_natural_order_from_the_whole_tree(tmp_path: Path):
    for name in ("10.png", "2.PNG", "b/1.jpeg", "b/deep/x.webp"):
        touch(tmp_path / name)
    for name in ("notes.txt", "LR_bicubic/X2/2x2.png", ".hidden/a.png"):
        touch(tmp_path / name)
    assert [file.name for file in find_images(tmp_path)] == ["2", "10", "b/1", "b/deep/x"]


def test_equal_stems_keep_their_suffix(tmp_path: Path):
    for name in ("a.png", "a.jpg", "b.png", "sub/a.png"):
        touch(tmp_path / name)
    assert {file.name for file in find_images(tmp_path)} == {"a.png", "a.jpg", "b", "sub/a"}


def test_a_wrong_or_empty_folder_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"nowhere is not there; check data.root"):
        Folder(root=str(tmp_path / "nowhere")).find()
    with pytest.raises(ValueError, match=r"holds no image .*\.png"):
        Folder(root=str(tmp_path)).find()
    with pytest.raises(ValueError, match="is a file, not a folder"):
        Folder(root=str(touch(tmp_path / "a.png"))).find()
    with pytest.raises(ValueError, match=r"holds 1 image, which cannot be split"):
        Folder(root=str(tmp_path), part="train").find()


def test_the_hold_out_is_a_partition_that_depends_on_names_only(tmp_path: Path):
    for root in (tmp_path / "one", tmp_path / "two"):
        for number in range(60):
            touch(root / f"{number}.png")
    splits = [
        (names_of(Folder(root=str(root), part="train")), names_of(Folder(root=str(root), part="held_out")))
        for root in (tmp_path / "one", tmp_path / "two")
    ]
    assert splits[0] == splits[1]
    train, held_out = map(set, splits[0])
    assert len(held_out) == 3
    assert not train & held_out
    assert len(train | held_out) == 60


def test_several_folders_keep_their_names_apart(tmp_path: Path):
    touch(tmp_path / "a/1.png")
    touch(tmp_path / "b/1.png")
    assert names_of(Folder(root=[str(tmp_path / "a"), str(tmp_path / "b")])) == ["a/1", "b/1"]


def test_a_folder_with_hr_inside_uses_it_and_the_lr_files_beside(tmp_path: Path):
    touch(tmp_path / "HR/1.png")
    touch(tmp_path / "other.png")
    small = touch(tmp_path / "LR_bicubic/X3/1x3.png")
    (image_set,) = Folder(root=str(tmp_path)).find().sets
    assert [file.name for file in image_set.files] == ["1"]
    assert image_set.lr_path("1", 3) == small
    assert image_set.lr_path("1", 2) is None
