"""Stored samples or a refusal that names the layout; oracles are the arrays that were written."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srlab.data.images import decode_image, decoded_bytes, read_image
from tiff_files import (
    ASSOCIATED,
    BLACK_IS_ZERO,
    CIELAB,
    CMYK,
    PALETTE,
    RGB,
    UNASSOCIATED,
    UNSPECIFIED,
    WHITE_IS_ZERO,
    YCBCR,
    write_tiff,
)

COLOR = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)
DEEP_COLOR = np.random.default_rng(1).integers(0, 65536, (6, 10, 3), dtype=np.uint16)
GRAY, DEEP_GRAY = COLOR[..., 0], DEEP_COLOR[..., 0]
KINDS = {
    "gray8": (GRAY, BLACK_IS_ZERO),
    "rgb8": (COLOR, RGB),
    "gray16": (DEEP_GRAY, BLACK_IS_ZERO),
    "rgb16": (DEEP_COLOR, RGB),
}


def planes(samples: np.ndarray) -> np.ndarray:
    """(C, H, W), 16 bits shrunk to 8 as im2uint8 does."""
    samples = samples[..., None] if samples.ndim == 2 else samples
    if samples.dtype == np.uint16:
        samples = np.rint(samples.astype(np.float64) / 257).astype(np.uint8)
    return samples.transpose(2, 0, 1)


def with_channel(samples: np.ndarray, value: int) -> np.ndarray:
    samples = samples[..., None] if samples.ndim == 2 else samples
    return np.concatenate([samples, np.full_like(samples[..., :1], value)], axis=2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lzw", [False, True])
def test_no_orientation_is_applied(tmp_path: Path, kind: str, lzw: bool):
    samples, photometric = KINDS[kind]
    for orientation in (None, *range(1, 9)):
        path = write_tiff(tmp_path / "a.tif", samples, photometric, orientation=orientation, lzw=lzw)
        image = decode_image(path)
        np.testing.assert_array_equal(image.pixels, planes(samples), err_msg=str(orientation))
        assert image.oriented == (orientation not in (None, 1))
        assert decoded_bytes(path) == image.pixels.size


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_planes_and_byte_orders(tmp_path: Path, kind: str, planar: bool, big_endian: bool):
    samples, photometric = KINDS[kind]
    path = write_tiff(tmp_path / "a.tif", samples, photometric, planar=planar, big_endian=big_endian)
    np.testing.assert_array_equal(read_image(path), planes(samples))


def test_compressed_planes_of_eight_bits(tmp_path: Path):
    path = write_tiff(tmp_path / "a.tif", COLOR, RGB, planar=True, lzw=True, orientation=6)
    np.testing.assert_array_equal(read_image(path), planes(COLOR))


@pytest.mark.parametrize("samples", [GRAY, DEEP_GRAY], ids=["8", "16"])
@pytest.mark.parametrize("lzw", [False, True])
def test_white_is_zero(tmp_path: Path, samples: np.ndarray, lzw: bool):
    path = write_tiff(tmp_path / "a.tif", np.iinfo(samples.dtype).max - samples, WHITE_IS_ZERO, lzw=lzw)
    np.testing.assert_array_equal(read_image(path), planes(samples))


@pytest.mark.parametrize("extra", [UNASSOCIATED, UNSPECIFIED])
@pytest.mark.parametrize("kind", KINDS)
def test_alpha_is_dropped(tmp_path: Path, kind: str, extra: int):
    samples, photometric = KINDS[kind]
    path = write_tiff(tmp_path / "a.tif", with_channel(samples, 77), photometric, extra=[extra])
    np.testing.assert_array_equal(read_image(path), planes(samples))


@pytest.mark.parametrize("lzw", [False, True])
@pytest.mark.parametrize("kind", ["rgb8", "rgb16"])
def test_colours_multiplied_by_alpha_are_read_where_all_is_opaque(tmp_path: Path, kind: str, lzw: bool):
    samples, photometric = KINDS[kind]
    opaque = with_channel(samples, np.iinfo(samples.dtype).max)
    path = write_tiff(tmp_path / "a.tif", opaque, photometric, extra=[ASSOCIATED], lzw=lzw)
    np.testing.assert_array_equal(read_image(path), planes(samples))
    opaque[2, 3, 3] -= 1
    write_tiff(path, opaque, photometric, extra=[ASSOCIATED], lzw=lzw)
    with pytest.raises(ValueError, match=r"\(6x10x4 uint\d+ rgb.*multiplied by"):
        read_image(path)


@pytest.mark.parametrize("orientation", [1, 5, 6])
@pytest.mark.parametrize(("mode", "photometric"), [("CMYK", CMYK), ("LAB", CIELAB), ("P", PALETTE)])
def test_other_kinds_of_eight_bits_are_what_pillow_makes_of_them(
    tmp_path: Path, mode: str, photometric: int, orientation: int
):
    """Of the samples alone, in a file without the tag."""
    samples = np.asarray(Image.fromarray(COLOR).convert(mode)) if mode != "LAB" else COLOR
    more = {320: [value * 257 for value in range(256)] * 3} if mode == "P" else {}
    plain = write_tiff(tmp_path / "plain.tif", samples, photometric, more=more)
    expected = np.asarray(Image.open(plain).convert("RGB")).transpose(2, 0, 1)
    tagged = write_tiff(tmp_path / "a.tif", samples, photometric, more=more, orientation=orientation)
    np.testing.assert_array_equal(read_image(tagged), expected)


@pytest.mark.parametrize("planar", [False, True])
def test_uncompressed_ycbcr_is_what_the_formulas_of_jpeg_make_of_it(tmp_path: Path, planar: bool):
    """BT.601 of full range (ITU-T T.871, section 7); bytes behind the strip are none of its pixels."""
    levels = COLOR.astype(np.float64)
    luma, blue, red = levels[..., 0], levels[..., 1] - 128, levels[..., 2] - 128
    expected = np.dstack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue])
    path = write_tiff(tmp_path / "a.tif", COLOR, YCBCR, more={530: [1, 1]}, planar=planar)
    path.write_bytes(path.read_bytes() + bytes(400))
    np.testing.assert_allclose(read_image(path).transpose(1, 2, 0), expected.clip(0, 255), atol=1)


def test_uncompressed_ycbcr_of_pillow_is_read_though_pillow_cannot(tmp_path: Path):
    smooth = Image.fromarray(COLOR).resize((40, 24), Image.Resampling.BICUBIC).convert("YCbCr")
    smooth.save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), planes(np.asarray(smooth.convert("RGB"))))


REFUSED = {
    "6x10x4 uint16 separated": (with_channel(DEEP_COLOR, 5), CMYK, {}),
    "6x10x5 uint16 rgb": (np.dstack([DEEP_COLOR] * 2)[..., :5], RGB, {"extra": [0, 0]}),
    "6x10x5 uint8 rgb": (np.dstack([COLOR] * 2)[..., :5], RGB, {"extra": [0, 0]}),
    "6x10x2 uint8 minisblack": (COLOR[..., :2], BLACK_IS_ZERO, {}),
    "6x20 uint12 minisblack": (np.dstack([GRAY] * 3).reshape(6, 30), BLACK_IS_ZERO, {"bits": 12}),
    "6x10 int16 minisblack": (DEEP_GRAY.astype(np.int16), BLACK_IS_ZERO, {}),
    "6x10 int8 minisblack": (GRAY.astype(np.int8), BLACK_IS_ZERO, {}),
    "6x10 uint32 minisblack": (GRAY.astype(np.uint32), BLACK_IS_ZERO, {}),
    "6x10 int32 minisblack": (GRAY.astype(np.int32), BLACK_IS_ZERO, {}),
    "6x10 ieeefp32 minisblack": (GRAY.astype(np.float32), BLACK_IS_ZERO, {}),
    "6x10x3 uint32 rgb": (COLOR.astype(np.uint32), RGB, {}),
    "6x10x3 ieeefp32 rgb": (COLOR.astype(np.float32), RGB, {}),
    "6x10x3 ieeefp16 rgb": (COLOR.astype(np.float16), RGB, {}),
    "3x6x10 uint16 rgb lzw separate": (
        DEEP_COLOR,
        RGB,
        {"planar": True, "lzw": True},
    ),
    "6x10x3 uint8 ycbcr": (COLOR, YCBCR, {"more": {530: [2, 2]}}),
    "6x10x3 uint8 ycbcr final": (COLOR, YCBCR, {"more": {530: [1, 1], 532: [15, 235, 128, 240, 128, 240]}}),
    "6x10x3 uint8 rgb reduced": (COLOR, RGB, {"more": {254: [1]}}),
}


@pytest.mark.parametrize("layout", REFUSED)
def test_other_layouts_are_refused_by_name(tmp_path: Path, layout: str):
    samples, photometric, changes = REFUSED[layout]
    path = write_tiff(tmp_path / "a.tif", samples, photometric, **changes)
    with pytest.raises(ValueError, match=rf"a\.tif: its layout \({layout}.*\) is not supported; save it"):
        read_image(path)


def test_an_unknown_meaning_of_samples_is_refused(tmp_path: Path):
    path = write_tiff(tmp_path / "a.tif", COLOR, 40000)
    with pytest.raises(ValueError, match=r"a\.tif: 40000 is not a valid PHOTOMETRIC"):
        read_image(path)


def test_missing_and_cut_pixels_are_told_from_layouts(tmp_path: Path):
    path = write_tiff(tmp_path / "a.tif", DEEP_COLOR, RGB)
    data = path.read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[:100])
    with pytest.raises(ValueError, match=r"cut\.tif: it is damaged"):
        read_image(tmp_path / "cut.tif")
    assert decoded_bytes(tmp_path / "cut.tif") == 0
    write_tiff(path, DEEP_COLOR, RGB, more={279: [60000]})
    with pytest.raises(ValueError, match=r"it is truncated: \d+ bytes where its pixels end at 60008"):
        read_image(path)
    write_tiff(path, DEEP_COLOR, RGB, more={279: [0]})
    with pytest.raises(ValueError, match=r"it is damaged: pixels are missing"):
        read_image(path)


def test_an_image_of_one_column_keeps_its_shape(tmp_path: Path):
    path = write_tiff(tmp_path / "a.tif", DEEP_COLOR[:, :1], RGB)
    np.testing.assert_array_equal(read_image(path), planes(DEEP_COLOR[:, :1]))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_inside_is_what_libtiff_makes_of_it(tmp_path: Path, mode: str, orientation: int):
    """RGB is stored as YCbCr; the oracle is the file without an orientation."""
    picture = Image.fromarray(COLOR).resize((40, 24), Image.Resampling.BICUBIC).convert(mode)
    picture.save(tmp_path / "plain.tif", compression="jpeg", quality=95)
    picture.save(tmp_path / "a.tif", compression="jpeg", quality=95, tiffinfo={274: orientation})
    expected = planes(np.asarray(Image.open(tmp_path / "plain.tif").convert(mode)))
    image = decode_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels, expected)
    assert np.abs(expected - planes(np.asarray(picture)).astype(float)).mean() < 8
    assert image.oriented == (orientation == 6)


def test_an_unknown_compression_is_refused_by_name(tmp_path: Path):
    path = write_tiff(tmp_path / "a.tif", DEEP_COLOR, RGB, more={259: [50000]})
    with pytest.raises(ValueError, match=r"6x10x3 uint16 rgb zstd.*\) is not supported"):
        read_image(path)
