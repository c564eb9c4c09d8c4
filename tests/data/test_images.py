"""One rule for each kind of file; oracles are the arrays that were written."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from srlab.data.images import decoded_bytes, read_image

RGB = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (9, 7, 3), dtype=np.uint16)


def test_rgb_files_become_planes(tmp_path: Path):
    for suffix in ("png", "bmp", "tif", "webp"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(RGB).save(path, **({"lossless": True} if suffix == "webp" else {}))
        np.testing.assert_array_equal(read_image(path), RGB.transpose(2, 0, 1), err_msg=suffix)
        assert decoded_bytes(path) == 3 * 9 * 7


def test_gray_files_keep_one_channel(tmp_path: Path):
    for mode in ("L", "LA", "1"):
        picture = Image.fromarray(RGB[..., 0]).convert(mode)
        picture.save(tmp_path / f"{mode}.png")
        expected = np.asarray(picture.convert("L"))[None]
        np.testing.assert_array_equal(read_image(tmp_path / f"{mode}.png"), expected, err_msg=mode)
        assert decoded_bytes(tmp_path / f"{mode}.png") == 9 * 7


def test_alpha_is_dropped_with_the_colours_as_stored(tmp_path: Path):
    alpha = np.arange(63, dtype=np.uint8).reshape(9, 7, 1)
    Image.fromarray(np.concatenate([RGB, alpha], axis=2), "RGBA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB.transpose(2, 0, 1))


def test_a_palette_is_looked_up(tmp_path: Path):
    picture = Image.fromarray(RGB).quantize(16)
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.png"), np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    )


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_become_eight_as_in_im2uint8(tmp_path: Path, suffix: str, channels: int):
    path = tmp_path / f"a.{suffix}"
    deep = np.concatenate([DEEP, DEEP[..., :1]], axis=2)[..., :channels]
    written = deep if channels == 1 else deep[..., [2, 1, 0, 3][:channels]]
    assert cv2.imwrite(str(path), written)
    expected = np.rint(deep[..., :3].astype(np.float64) / 257).astype(np.uint8).transpose(2, 0, 1)
    np.testing.assert_array_equal(read_image(path), expected)
    assert decoded_bytes(path) == expected.size


def test_the_orientation_tag_is_not_applied(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB.transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["truncated", "text", "empty", "float"])
def test_a_bad_file_is_named(tmp_path: Path, kind: str):
    path = tmp_path / ("a.tif" if kind == "float" else "a.png")
    if kind == "truncated":
        Image.fromarray(np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:3000])
    elif kind == "float":
        Image.fromarray(np.ones((4, 4), np.float32)).save(path)
    else:
        path.write_bytes(b"no image" if kind == "text" else b"")
    with pytest.raises(ValueError, match=rf"cannot read the image .*{path.name}"):
        read_image(path)
