from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from image_files import save_noise
from srlab.data.evaluation import EvaluationSet, RankShare
from srlab.data.known_sets import benchmark_images
from srlab.data.store import open_store
from srlab.ops.resize import imresize


def open_set(
    root: Path, *, scale: int = 3, on_bad_image: str = "error", least_side: int = 1
) -> EvaluationSet:
    image_set = benchmark_images(str(root), "Set1")
    store = open_store(image_set, cache=root / "cache", on_bad_image=on_bad_image)
    return EvaluationSet(
        image_set=image_set, store=store, scale=scale, on_bad_image=on_bad_image, least_side=least_side
    )


def save_bicubic(root: Path, name: str, scale: int = 3) -> np.ndarray:
    """The LR file of an HR file that is there."""
    pixels = np.asarray(Image.open(root / f"Set1/HR/{name}.png")).transpose(2, 0, 1)
    height, width = (side // scale * scale for side in pixels.shape[1:])
    made = imresize(
        torch.from_numpy(pixels[:, :height, :width].copy()), scale=Fraction(1, scale), mode="uint8"
    )
    write_lr(root, name, made.numpy(), scale)
    return made.numpy()


def write_lr(root: Path, name: str, pixels: np.ndarray, scale: int = 3) -> Path:
    path = root / f"Set1/LR_bicubic/X{scale}/{name}x{scale}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.transpose(1, 2, 0)).save(path)
    return path


def test_lr_is_made_from_hr_cropped_at_the_bottom_and_right(tmp_path: Path):
    pixels = save_noise(tmp_path / "Set1/HR/a.png", 20, 25, 3)
    sample = open_set(tmp_path)[0]
    cropped = torch.from_numpy(pixels[:18, :24]).permute(2, 0, 1)
    assert torch.equal(sample["hr_image"], cropped)
    assert torch.equal(sample["lr_image"], imresize(cropped, scale=Fraction(1, 3), mode="uint8"))
    assert (sample["name"], sample["set_name"], sample["counted"], sample["lr_source"]) == (
        "a",
        "Set1",
        True,
        "made",
    )


def test_an_lr_file_is_preferred_to_making_one(tmp_path: Path):
    save_noise(tmp_path / "Set1/HR/a.png", 20, 25, 3)
    made = open_set(tmp_path)[0]["lr_image"].numpy()
    pixels = np.where(made < 255, made + 1, made)
    (tmp_path / "Set1/LR_bicubic/X3").mkdir(parents=True)
    Image.fromarray(pixels.transpose(1, 2, 0)).save(tmp_path / "Set1/LR_bicubic/X3/ax3.png")
    sample = open_set(tmp_path)[0]
    np.testing.assert_array_equal(sample["lr_image"].numpy(), pixels)
    assert sample["lr_source"] == "file"
    assert open_set(tmp_path, scale=2)[0]["lr_source"] == "made"


def test_a_gray_image_enters_replicated_and_is_scored_as_it_is(tmp_path: Path):
    save_noise(tmp_path / "Set1/HR/a.png", 12, 12)
    sample = open_set(tmp_path)[0]
    assert sample["hr_image"].shape == (1, 12, 12)
    expected = imresize(sample["hr_image"], scale=Fraction(1, 3), mode="uint8")
    assert torch.equal(sample["lr_image"], expected.expand(3, 4, 4))


def test_bridge_of_set14_is_gray(real_images: Path, tmp_path: Path):
    image_set = benchmark_images(str(real_images), "Set14")
    store = open_store(image_set, cache=tmp_path, on_bad_image="error")
    images = EvaluationSet(image_set=image_set, store=store, scale=4, on_bad_image="error")
    samples = [images[index] for index in range(len(images))]
    assert [sample["name"] for sample in samples if len(sample["hr_image"]) == 1] == ["bridge"]
    assert all(len(sample["lr_image"]) == 3 and sample["lr_source"] == "file" for sample in samples)


@pytest.mark.parametrize(("error", "accepted"), [(25, True), (26, False)])
def test_twenty_decibels_are_the_least(tmp_path: Path, error: int, accepted: bool):
    """A constant error of 25.5 is 20 dB: 20 log10(255 / 25.5)."""
    for name, size, level in (("HR/a", (24, 18), 100), ("LR_bicubic/X3/ax3", (8, 6), 100 + error)):
        (tmp_path / f"Set1/{name}.png").parent.mkdir(parents=True)
        Image.new("L", size, level).save(tmp_path / f"Set1/{name}.png")
    if accepted:
        assert open_set(tmp_path)[0]["lr_source"] == "file"
    else:
        with pytest.raises(ValueError, match=r"19\.8 dB, less than 20 dB"):
            open_set(tmp_path)


@pytest.mark.parametrize("name", ["Set5", "Set14"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_lr_files_of_the_benchmarks_are_accepted(real_images: Path, tmp_path: Path, name: str, scale: int):
    image_set = benchmark_images(str(real_images), name)
    store = open_store(image_set, cache=tmp_path, on_bad_image="error")
    images = EvaluationSet(image_set=image_set, store=store, scale=scale, on_bad_image="error")
    assert {images[index]["lr_source"] for index in range(len(images))} == {"file"}


@pytest.mark.parametrize(
    ("side", "least", "fault"),
    [(2, 1, "less than the scale 3"), (17, 17, "too small to score: 17x17 pixels are needed")],
)
def test_a_small_image_is_named_or_skipped(tmp_path: Path, caplog, side: int, least: int, fault: str):
    """17x17 at x3 is cropped to 15x15."""
    save_noise(tmp_path / "Set1/HR/a.png", side, 30, 3)
    with pytest.raises(ValueError, match=rf"1 image.* of Set1 .*: a measures {side}x30, {fault}"):
        open_set(tmp_path, least_side=least)
    with pytest.raises(ValueError, match="no image of Set1 is left to score; see the warnings"):
        open_set(tmp_path, least_side=least, on_bad_image="skip")
    save_noise(tmp_path / "Set1/HR/b.png", 18, 30, 3)
    images = open_set(tmp_path, least_side=least, on_bad_image="skip")
    assert [images[index]["name"] for index in range(len(images))] == ["b"]
    assert f"skipped, of Set1: a measures {side}x30" in caplog.text


def test_all_faults_of_a_set_come_at_once_and_are_skipped_together(tmp_path: Path, caplog):
    """Too small, LR that is missing, of another size, of another picture, unreadable; f is left."""
    for name in "abcdef":
        save_noise(tmp_path / f"Set1/HR/{name}.png", 24, 24, 3)
        save_bicubic(tmp_path, name)
    save_noise(tmp_path / "Set1/HR/a.png", 2, 24, 3)
    write_lr(tmp_path, "b", np.zeros((3, 8, 8), np.uint8)).unlink()
    write_lr(tmp_path, "c", np.zeros((3, 7, 8), np.uint8))
    write_lr(tmp_path, "d", np.zeros((3, 8, 8), np.uint8))
    faults = (
        r"4 image\(s\) of Set1 cannot be scored: a measures 2x24.*",
        r".*X3/bx3\.png of b of Set1 is missing",
        r".*cx3\.png measures 7x8, but its HR image c of Set1 of 24x24 requires 8x8 at x3",
        r".*dx3\.png does not belong to its HR image d of Set1: .* dB, less than 20 dB",
        "repair, rename .* all LR is made",
    )
    with pytest.raises(ValueError, match="; ".join(faults)):
        open_set(tmp_path)
    write_lr(tmp_path, "e", np.zeros((3, 8, 8), np.uint8)).write_bytes(b"no image")
    images = open_set(tmp_path, on_bad_image="skip")
    (sample,) = [images[index] for index in range(len(images))]
    assert (sample["name"], sample["lr_source"]) == ("f", "file")
    np.testing.assert_array_equal(sample["lr_image"].numpy(), save_bicubic(tmp_path, "f"))
    assert caplog.text.count("skipped") == 5


@pytest.mark.parametrize("shift", [(0, 1), (-1, 0), (1, -1)])
def test_an_lr_file_that_is_displaced_is_named(tmp_path: Path, caplog, shift: tuple[int, int]):
    small = np.random.default_rng(0).integers(100, 140, (9, 11, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((132, 108), Image.Resampling.BICUBIC)
    (tmp_path / "Set1/HR").mkdir(parents=True)
    picture.save(tmp_path / "Set1/HR/a.png")
    made = save_bicubic(tmp_path, "a")
    open_set(tmp_path)
    write_lr(tmp_path, "a", np.where(made < 255, made + 1, made))  # of another bicubic
    open_set(tmp_path)
    assert "displaced" not in caplog.text
    path = write_lr(tmp_path, "a", np.roll(made, shift, axis=(1, 2)))
    open_set(tmp_path)
    assert f"LR file {path} looks displaced by ({shift[0]:+d}, {shift[1]:+d}) pixels" in caplog.text


@pytest.mark.parametrize("ranks", [1, 2, 3, 7, 9])
def test_ranks_share_the_images_exactly_with_equally_long_shares(tmp_path: Path, ranks: int):
    for number in range(7):
        save_noise(tmp_path / f"Set1/HR/{number}.png", 6, 6, 3)
    images = open_set(tmp_path)
    shares = [RankShare(sets=[images, images], num_replicas=ranks, rank=rank) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    counted = [
        sample["name"]
        for share in shares
        for sample in (share.batch([place]) for place in range(len(share)))
        if sample["counted"]
    ]
    assert sorted(counted) == sorted(2 * [str(number) for number in range(7)])
