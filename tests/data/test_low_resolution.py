"""Names that data sets give to their low-resolution files; each is a public one's."""

from pathlib import Path

import pytest

from srlab.data.low_resolution import is_lr_folder, lr_folders, lr_stems


@pytest.mark.parametrize(
    "name",
    [
        *("LR", "lr", "lq", "LQ", "LRx2", "LR_x4", "LRbicx4", "LRBI", "LRBD", "LR_bicubic", "low_res"),
        *("DIV2K_train_LR_bicubic", "DIV2K_train_LR_unknown", "DIV2K_valid_LR_x8", "DIV2K_train_LR_mild"),
        *("Flickr2K_LR_bicubic", "DIV2K_train_LR_bicubic_X4_sub"),
    ],
)
def test_folders_of_low_resolution(name: str):
    assert is_lr_folder(name)


@pytest.mark.parametrize(
    "name",
    ["HR", "GTmod12", "gt", "hq", "DIV2K_train_HR", "Flickr2K", "HR_and_LR", "alright", "lrx", "X2", "train"],
)
def test_other_folders(name: str):
    assert not is_lr_folder(name)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("img_001_SRF_2_LR", "img_001_SRF_2_HR"),  # SelfExSR
        ("baby_LRBI_x2", "baby_HR_x2"),  # RCAN
        ("Canon_001_LR4", "Canon_001_HR"),  # RealSR
        ("0801x4", "0801"),  # DIV2K
        ("baby_x2", "baby"),
    ],
)
def test_files_of_low_resolution_are_those_with_a_counterpart(low: str, high: str):
    assert lr_stems([low, high, "other"]) == {low}
    assert lr_stems([low, "other"]) == set()


def test_bicubic_folders_by_scale_whatever_the_case(tmp_path: Path):
    for name in ("LR_bicubic/X2", "LR_bicubic/x3", "LRbicx4", "LR_unknown/X8", "LRBI/x2", "LR/X8"):
        (tmp_path / name).mkdir(parents=True)
    found = lr_folders(tmp_path)
    assert set(found) == {2, 3, 4}
    assert (found[3], found[4]) == (tmp_path / "LR_bicubic/x3", tmp_path / "LRbicx4")
