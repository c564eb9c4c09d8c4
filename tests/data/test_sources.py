import logging
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
    with pytest.raises(ValueError, match=r"X3/2x3\.png of 2 .* is not there; rename"):
        image_set.lr_path("2", 3)


def test_linked_folders_are_followed_once_and_cycles_end(tmp_path: Path):
    """``a`` sorts before ``b`` but leads to it: the real folder keeps the name."""
    touch(tmp_path / "set/b/1.png")
    touch(tmp_path / "elsewhere/deep/2.png")
    (tmp_path / "set/a").symlink_to(tmp_path / "set/b")
    (tmp_path / "set/c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/b/up").symlink_to(tmp_path / "set")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "set")
    (tmp_path / "set/broken").symlink_to(tmp_path / "nowhere")
    assert [file.name for file in find_images(tmp_path / "set")] == ["b/1", "c/deep/2"]


def test_images_beside_hr_are_counted_in_the_log(tmp_path: Path, caplog):
    for name in ("HR/1.png", "other.png", "more/2.png", "LR_bicubic/X3/1x3.png"):
        touch(tmp_path / name)
    (tmp_path / "again").symlink_to(tmp_path / "HR")
    with caplog.at_level(logging.INFO):
        assert names_of(Folder(root=str(tmp_path))) == ["1"]
    assert f"2 image(s) beside {tmp_path / 'HR'} are left out" in caplog.text


def test_a_folder_called_hr_that_links_to_its_neighbour_leaves_nothing_out(tmp_path: Path, caplog):
    touch(tmp_path / "DIV2K_train_HR/1.png")
    (tmp_path / "HR").symlink_to(tmp_path / "DIV2K_train_HR")
    with caplog.at_level(logging.INFO):
        assert names_of(Folder(root=str(tmp_path))) == ["1"]
    assert "left out" not in caplog.text
