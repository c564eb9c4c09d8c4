from pathlib import Path

import pytest

from image_files import touch
from srlab.data.folder_scan import scan_folder, unique_names


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.jpg", "b.png"], ["a", "b"]),
        (["a.jpg", "a.png", "b.png"], ["a.jpg", "a.png", "b"]),
        (["a.jpg", "a.png", "a.png.png"], ["a.jpg", "a.png", "a.png~2"]),
        (["Baby.jpg", "baby.png"], ["Baby.jpg", "baby.png"]),
        (["BABY.PNG", "Baby.png", "baby.png"], ["BABY.PNG", "Baby.png~2", "baby.png~3"]),
        (["\u00e9.png", "e\u0301.png"], ["\u00e9.png~2", "e\u0301.png"]),
        (["x/a.png", "y/a.png"], ["x/a", "y/a"]),
    ],
)
def test_names_stay_apart_on_every_file_system(paths: list[str], names: list[str]):
    assert unique_names([Path(path) for path in paths]) == names


def test_a_number_that_is_taken_is_not_given():
    assert unique_names([Path("A.png"), Path("a.png"), Path("a.png~2.png")])[1] == "a.png~3"


def test_what_systems_put_into_folders_is_no_image(tmp_path: Path):
    kept = touch(tmp_path / "1.png")
    system = ("@eaDir/1.png/SYNOPHOTO_THUMB_XL.jpg", "__MACOSX/2.png", ".ipynb_checkpoints/1.png", "._1.png")
    for name in (*system, "#recycle/3.png", "$RECYCLE.BIN/4.png", "@__thumb/1.jpg", "Thumbs.db", ".DS_Store"):
        touch(tmp_path / name)
    scan = scan_folder(tmp_path)
    assert scan.images == (kept,)
    assert scan.left_out() == []


def test_what_is_left_out_is_counted_by_reason(tmp_path: Path):
    low = ("LR/1.png", "sets/lq/1.png", "sets/lq/d/2.png")
    for name in ("1.png", "a.gif", "b.GIF", "c.jp2", "notes.txt", *low):
        touch(tmp_path / name)
    low, formats = scan_folder(tmp_path).left_out()
    assert low.startswith(f"3 file(s) below {tmp_path} are left out as low resolution")
    assert low.endswith("sets/lq (2), LR (1)")
    what = "are left out because their format is not supported: .gif (2), .jp2 (1)"
    assert formats == f"3 file(s) below {tmp_path} {what}"
