"""data=paired: LR files found by name, cut where HR is cut, and refused where they do not belong."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from image_files import save_noise, touch
from srlab.data import datasets
from srlab.data.datamodule import SuperResolutionData
from srlab.data.degradation import BicubicDegradation
from srlab.data.paired import paired_images
from srlab.data.sampling import draw_crop, image_of

LOADING = {"patch_size": 6, "batch_size": 4, "num_workers": 0, "seed": 3, "augment": False}


def paired(root: Path, scale: int = 2, **changes) -> SuperResolutionData:
    roots = {"hr_root": str(root / "HR"), "lr_root": str(root / "LR"), "lr_name": None}
    roots |= {"validation_hr_root": None, "validation_lr_root": None, "on_bad_image": "error"}
    where = {"cache": str(root / "cache"), "degradation": BicubicDegradation(), "degrade_on": "worker"}
    return datasets.paired(scale=scale, **{**LOADING, **roots, **where, **changes})


def save_pair(root: Path, name: str, scale: int = 2, lr: str = "{}", seed: int = 0) -> np.ndarray:
    """LR is every ``scale``-th pixel, which is no bicubic; returns HR."""
    pixels = save_noise(root / f"HR/{name}.png", 24 * scale + 1, 20 * scale, 3, seed=seed)
    path = root / f"LR/{lr.format(name)}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[: 24 * scale : scale, ::scale]).save(path)
    return pixels


@pytest.mark.parametrize(
    ("hr_root", "hr", "lr_root", "lr"),
    [
        ("HR", "0001.png", "LR", "0001.png"),
        ("DIV2K_train_HR", "0001.png", "DIV2K_train_LR_bicubic/X4", "0001x4.png"),
        ("DIV2K_train_HR", "0001.png", "DIV2K_train_LR_bicubic", "X4/0001x4.png"),
        ("Set5/GTmod12", "baby.png", "Set5/LRbicx4", "baby.png"),
        ("HR", "baby.png", "LRBI", "x4/baby_LRBI_x4.png"),
        ("HR/x4", "baby_HR_x4.png", "LRBI/x4", "baby_LRBI_x4.png"),
        ("Train/4", "Canon_001_HR.png", "Train/4", "Canon_001_LR4.png"),
        ("gt", "a/b/0001.png", "lq", "a/b/0001_x4.jpg"),
        ("HR", "LR.png", "LR", "LR.png"),
    ],
)
def test_the_names_that_users_have_are_paired(tmp_path: Path, hr_root: str, hr: str, lr_root: str, lr: str):
    touch(tmp_path / hr_root / hr)
    lr_path = touch(tmp_path / lr_root / lr).resolve()
    image_set = paired_images(str(tmp_path / hr_root), str(tmp_path / lr_root), scale=4)
    assert [image_set.lr_path(file.name, 4) for file in image_set.files] == [lr_path]


@pytest.mark.parametrize("changes", [{"scale_range": (1, 4)}, {"validation_scales": [2, 3]}])
def test_files_of_one_scale_are_neither_cropped_nor_scored_at_others(tmp_path: Path, changes: dict):
    for name in "abc":
        save_pair(tmp_path, name)
    fault = r"data\.(scale_range|validation_scales)=.*: the LR files of .* have one scale, 2; leave it out"
    with pytest.raises(ValueError, match=fault):
        paired(tmp_path, **changes).setup("fit")


def test_the_folder_of_the_scale_and_basicsrs_template_are_found(tmp_path: Path):
    for path in ("HR/a.png", "LR/X2/a_small.png", "LR/X4/a_tiny.png"):
        touch(tmp_path / path)
    roots = str(tmp_path / "HR"), str(tmp_path / "LR")
    assert paired_images(*roots, scale=4, lr_name="{}_tiny").lr_path("a", 4).name == "a_tiny.png"
    with pytest.raises(ValueError, match=r"lr_name must hold \{\}.*got '_tiny'"):
        paired_images(*roots, scale=4, lr_name="_tiny")


def test_lists_are_paired_in_order(tmp_path: Path):
    for name in ("one", "two"):
        touch(tmp_path / name / "HR/a.png")
        touch(tmp_path / name / "LR/ax2.png")
    hr, lr = ([str(tmp_path / name / kind) for name in ("one", "two")] for kind in ("HR", "LR"))
    image_set = paired_images(hr, lr, scale=2)
    assert [
        str(image_set.lr_path(file.name, 2).relative_to(tmp_path.resolve())) for file in image_set.files
    ] == [
        "one/LR/ax2.png",
        "two/LR/ax2.png",
    ]
    with pytest.raises(ValueError, match=r"names 2 folder\(s\) and data\.lr_root 1"):
        paired_images(hr, lr[0], scale=2)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ["HR/a.png", "HR/b.png", "LR/a.png"],
            r"2 HR image\(s\) .* 1 LR file\(s\); 1 HR without LR \(b\.png\)",
        ),
        (["HR/a.png", "LR/a.png", "LR/b.png"], r"1 LR without HR \(b\.png\)"),
        (["HR/a.png", "LR/a_x2.png", "LR/ax4.png"], r"2 LR files may be that of .*HR/a\.png.*lr_name=\{\}x4"),
        (["HR/a.png"], r"the LR folder .*LR is not a folder; check data\.lr_root"),
    ],
)
def test_files_without_counterpart_are_named(tmp_path: Path, files: list[str], message: str):
    for file in files:
        touch(tmp_path / file)
    with pytest.raises(ValueError, match=message):
        paired_images(str(tmp_path / "HR"), str(tmp_path / "LR"), scale=2)


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("augment", [False, True])
def test_lr_and_hr_crops_show_the_same_place_as_the_draw_says(tmp_path: Path, scale: int, augment: bool):
    pictures = {
        name: save_pair(tmp_path, name, scale, "{}x" + str(scale), seed) for seed, name in enumerate("abc")
    }
    roots = {"validation_hr_root": str(tmp_path / "HR"), "validation_lr_root": str(tmp_path / "LR")}
    crops = paired(tmp_path, scale, augment=augment, **roots).training_crops
    for index in range(12):
        sample = crops[index]
        number = image_of(3, index, 3)
        crop = draw_crop(3, index, (24 - 5, 20 - 5), augment=augment)
        top, left = crop.top * scale, crop.left * scale
        hr = torch.from_numpy(pictures["abc"[number]][top : top + 6 * scale, left : left + 6 * scale])
        for image, window in (("hr_image", hr), ("lr_image", hr[::scale, ::scale])):
            expected = window.permute(2, 0, 1)
            expected = expected.transpose(1, 2) if crop.turn & 1 else expected
            expected = expected.flip([axis for axis, bit in ((1, 2), (2, 4)) if crop.turn & bit])
            assert_close(sample[image], expected, rtol=0, atol=0)


def test_held_out_pairs_are_scored_with_their_own_lr_and_never_train(tmp_path: Path):
    pictures = {name: save_pair(tmp_path, name, seed=seed) for seed, name in enumerate("abcd")}
    data = paired(tmp_path)
    (held_out,) = data.evaluation_sets().sets
    (name,) = sorted("abcd", key=lambda each: hashlib.sha256(each.encode()).digest())[:1]
    sample = held_out[0]
    assert (held_out.name, sample["name"], sample["lr_source"]) == ("held_out", name, "file")
    lr = torch.from_numpy(pictures[name][:48:2, ::2]).permute(2, 0, 1)
    assert torch.equal(sample["lr_image"], lr)
    assert {data.training_crops.store.images[n].name for n in data.training_crops.images} == set("abcd") - {
        name
    }


def test_another_size_is_refused_with_both_names_and_can_be_skipped(tmp_path: Path):
    for seed, name in enumerate("abcd"):
        save_pair(tmp_path, name, seed=seed)
    roots = {"validation_hr_root": str(tmp_path / "HR"), "validation_lr_root": str(tmp_path / "LR")}
    save_noise(tmp_path / "LR/b.png", 24, 21, 3)
    message = r"1 of 4 LR files.*LR/b\.png measures 24x21, but its HR image b of 49x40 requires 24x20 at x2"
    with pytest.raises(ValueError, match=message):
        _ = paired(tmp_path, **roots).training_crops
    with pytest.raises(ValueError, match=r"b\.png measures 24x21, but its HR image b of HR"):
        paired(tmp_path, **roots).evaluation_sets()
    skipping = paired(tmp_path, on_bad_image="skip", **roots)
    assert len(skipping.training_crops.images) == len(skipping.evaluation_sets().sets[0]) == 3


def test_a_changed_lr_file_is_noticed_on_resume(tmp_path: Path):
    for seed, name in enumerate("ab"):
        save_pair(tmp_path, name, seed=seed)
    roots = {"validation_hr_root": str(tmp_path / "HR"), "validation_lr_root": str(tmp_path / "LR")}
    before = paired(tmp_path, **roots).state_dict()
    save_noise(tmp_path / "LR/b.png", 24, 20, 3, seed=9)
    with pytest.raises(ValueError, match=r"training: 1 changed \(b\)"):
        paired(tmp_path, **roots).load_state_dict(before)


def test_half_a_validation_pair_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"validation_hr_root=x and data\.validation_lr_root=None belong"):
        paired(tmp_path, validation_hr_root="x")
