import logging
from pathlib import Path

import pytest

from image_files import touch
from srlab.data.sources import ImageSet, find_images, folder_images


def names_of(image_set: ImageSet) -> list[str]:
    return [file.name for file in image_set.files]


def test_images_come_in_natural_order_from_the_whole_tree(tmp_path: Path):
    for name in ("10.png", "2.PNG", "b/1.jpeg", "b/deep/x.webp"):
        touch(tmp_path / name)
    for name in ("notes.txt", "LR_bicubic/X2/2x2.png", ".hidden/a.png"):
        touch(tmp_path / name)
    assert [file.name for file in find_images(tmp_path)] == ["2", "10", "b/1", "b/deep/x"]


def test_a_wrong_or_empty_folder_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"nowhere does not exist; check data.root"):
        folder_images(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"holds no image .*\.png"):
        folder_images(str(tmp_path))
    with pytest.raises(ValueError, match="is a file, not a folder"):
        folder_images(str(touch(tmp_path / "a.png")))
    with pytest.raises(ValueError, match=r"holds 1 image, which cannot be split"):
        folder_images(str(tmp_path), part="train")


def test_the_hold_out_is_a_partition_that_depends_on_names_only(tmp_path: Path):
    for root in (tmp_path / "one", tmp_path / "two"):
        for number in range(60):
            touch(root / f"{number}.png")
    splits = [
        [names_of(folder_images(str(root), part=part)) for part in ("train", "held_out")]
        for root in (tmp_path / "one", tmp_path / "two")
    ]
    assert splits[0] == splits[1]
    train, held_out = map(set, splits[0])
    assert len(held_out) == 3
    assert not train & held_out
    assert len(train | held_out) == 60


def test_a_folder_with_hr_inside_uses_it_and_the_lr_files_beside(tmp_path: Path):
    touch(tmp_path / "HR/1.png")
    touch(tmp_path / "other.png")
    small = touch(tmp_path / "LR_bicubic/X3/1x3.png")
    image_set = folder_images(str(tmp_path))
    assert [file.name for file in image_set.files] == ["1"]
    assert image_set.lr_path("1", 3) == small
    assert image_set.lr_path("1", 2) is None
    with pytest.raises(ValueError, match=r"X3/2x3\.png of 2 .* is missing"):
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
        assert names_of(folder_images(str(tmp_path))) == ["1"]
    assert f"2 image(s) next to {tmp_path / 'HR'} are left out" in caplog.text


@pytest.mark.parametrize(
    ("high", "low"),
    [
        (
            ["DIV2K_train_HR/0001.png", "DIV2K_valid_HR/0801.png"],
            ["DIV2K_train_LR_bicubic/X2/0001x2.png", "DIV2K_train_LR_unknown/X4/0001x4.png"],
        ),
        (
            ["Set5/GTmod12/baby.png", "Set5/GTmod12/bird.png"],
            ["Set5/LRbicx2/baby.png", "Set5/LRbicx4/bird.png"],
        ),
        (
            ["image_SRF_2/img_001_SRF_2_HR.png", "image_SRF_2/img_002_SRF_2_HR.png"],
            ["image_SRF_2/img_001_SRF_2_LR.png", "image_SRF_2/img_002_SRF_2_LR.png"],
        ),
        (["HR/Set5/x2/a_HR_x2.png", "HR/Set5/x2/b_HR_x2.png"], ["LR/LRBI/Set5/x2/a_LRBI_x2.png"]),
        (["Set5/HR/baby.png", "Set5/HR/bird.png"], ["Set5/LR_bicubic/X2/babyx2.png"]),
        (["gt/0.png", "gt/1.png"], ["lq/0.png", "lq/1.png"]),
        (["HR/0.png", "HR/1.png"], ["LR/0.png"]),
        (["a.png", "b.png"], ["ax2.png"]),
    ],
    ids=["DIV2K", "BasicSR", "SelfExSR", "RCAN", "KAIR", "GT/LQ", "HR/LR", "flat"],
)
def test_low_resolution_files_are_no_hr_images_and_are_listed(
    tmp_path: Path, caplog, high: list[str], low: list[str]
):
    for name in (*high, *low):
        touch(tmp_path / name)
    with caplog.at_level(logging.INFO):
        files = folder_images(str(tmp_path)).files
    assert {file.path for file in files} == {tmp_path / name for name in high}
    assert f"{len(low)} file(s) below {tmp_path} are left out as low resolution" in caplog.text
    for part in ("train", "held_out"):
        for file in folder_images(str(tmp_path), part=part).files:
            assert file.path.relative_to(tmp_path).as_posix() in high


def test_a_folder_of_low_resolution_is_taken_where_it_is_named_itself(tmp_path: Path):
    touch(tmp_path / "LR/X4/0001x4.png")
    with pytest.raises(
        ValueError, match=r"holds no image .* 1 file\(s\) .* as low resolution.* LR \(1\); check"
    ):
        folder_images(str(tmp_path))
    assert names_of(folder_images(str(tmp_path / "LR/X4"))) == ["0001x4"]


def test_kinds_that_are_not_read_are_counted(tmp_path: Path, caplog):
    for name in ("1.png", "2.jfif", "3.ppm", "4.gif", "5.avif", "6.jp2", "7.gif"):
        touch(tmp_path / name)
    with caplog.at_level(logging.INFO):
        assert names_of(folder_images(str(tmp_path))) == ["1", "2", "3"]
    assert f"4 file(s) below {tmp_path} are left out because their format is not" in caplog.text
    assert "supported: .gif (2)" in caplog.text
    touch(tmp_path / "others/a.heic")
    with pytest.raises(ValueError, match=r"holds no image \(.*not supported: \.heic \(1\); check data\.r"):
        folder_images(str(tmp_path / "others"))


def test_folders_of_one_name_are_told_apart_by_what_is_above_them(tmp_path: Path):
    for name in ("a/train/1.png", "b/train/1.png", "b/train/2.png"):
        touch(tmp_path / name)
    roots = [str(tmp_path / "a/train"), str(tmp_path / "b/train")]
    assert names_of(folder_images(roots)) == ["a/train/1", "b/train/1", "b/train/2"]


def test_an_image_that_several_folders_reach_counts_once(tmp_path: Path):
    for name in ("a/1.png", "a/deep/2.png"):
        touch(tmp_path / name)
    roots = [str(tmp_path / "a"), str(tmp_path / "a/deep"), str(tmp_path / "a/../a")]
    assert names_of(folder_images(roots)) == ["a/1", "a/deep/2"]


def test_messages_name_the_option_that_gave_the_folder(tmp_path: Path):
    with pytest.raises(ValueError, match=r"nowhere does not exist; check data\.validation_root$"):
        folder_images(str(tmp_path / "nowhere"), option="data.validation_root")
    with pytest.raises(ValueError, match=r"data\.validation_root names no folder"):
        folder_images([], option="data.validation_root")


@pytest.mark.parametrize("folder", ["LR_bicubic/X2", "LR_bicubic/x2", "LRbicx2", "LRBI/x2"])
@pytest.mark.parametrize("name", ["1x2.png", "1.png", "1x2.bmp"])
def test_lr_files_beside_hr_in_usual_names(tmp_path: Path, folder: str, name: str):
    touch(tmp_path / "HR/1.png")
    low = touch(tmp_path / folder / name)
    image_set = folder_images(str(tmp_path))
    assert image_set.lr_path("1", 2) == low


def test_lr_files_beside_hr_that_are_not_read_are_listed(tmp_path: Path, caplog):
    for name in ("HR/1.png", "LR_bicubic/X2/1x2.png", "LR/1.png", "lq/1.png", "LR_unknown/X2/1x2.png"):
        touch(tmp_path / name)
    with caplog.at_level(logging.INFO):
        folder_images(str(tmp_path))
    (line,) = [line for line in caplog.messages if "left out as low resolution" in line]
    assert line.startswith("3 file(s)")
    assert all(name in line for name in ("LR (1)", "lq (1)", "LR_unknown (1)"))
    assert "bicubic" not in line


def test_a_folder_called_hr_that_links_to_its_neighbour_leaves_nothing_out(tmp_path: Path, caplog):
    touch(tmp_path / "DIV2K_train_HR/1.png")
    (tmp_path / "HR").symlink_to(tmp_path / "DIV2K_train_HR")
    with caplog.at_level(logging.INFO):
        assert names_of(folder_images(str(tmp_path))) == ["1"]
    assert "left out" not in caplog.text
