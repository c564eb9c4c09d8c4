"""One rule for each kind of file; oracles are the arrays that were written."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from srlab.data.images import decode_image, decoded_bytes, read_image
from srlab.data.pixels import MAX_PIXELS

RGB = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (9, 7, 3), dtype=np.uint16)


def test_rgb_files_become_planes(tmp_path: Path):
    for suffix in ("png", "bmp", "tif", "webp", "ppm"):
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


@pytest.mark.parametrize("orientation", [None, 1, 2, 6])
@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.jpg", "a.jfif"])
def test_an_orientation_is_not_applied_but_noticed(tmp_path: Path, name: str, orientation: int | None):
    exif = Image.Exif()
    options = {"webp": {"lossless": True}, "png": {}}.get(name[2:], {"format": "JPEG", "quality": 95})
    Image.fromarray(RGB).save(tmp_path / f"plain-{name}", **options)
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / name, exif=exif, **options)
    image = decode_image(tmp_path / name)
    np.testing.assert_array_equal(image.pixels, read_image(tmp_path / f"plain-{name}"))
    assert image.oriented == (orientation not in (None, 1))


def chunk(kind: bytes, content: bytes) -> bytes:
    """Of a PNG file."""
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def with_chunk(path: Path, kind: bytes, content: bytes) -> Path:
    """Puts it behind the header."""
    data = path.read_bytes()
    path.write_bytes(data[:33] + chunk(kind, content) + data[33:])
    return path


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (b"tEXt", b"parameters\0" + b"x" * 3_000_000),
        (b"zTXt", b"parameters\0\0" + zlib.compress(b"x" * 80_000_000)),
        (b"iTXt", b"parameters\0\1\0\0\0" + zlib.compress(b"x" * 3_000_000)),
        (b"iCCP", b"profile\0\0" + zlib.compress(b"x" * 3_000_000)),
    ],
    ids=["tEXt", "zTXt", "iTXt", "iCCP"],
)
def test_what_a_png_holds_beside_pixels_does_not_matter(
    tmp_path: Path, depth: int, kind: bytes, content: bytes
):
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), (RGB if depth == 8 else DEEP)[..., ::-1])
    expected = read_image(path)
    np.testing.assert_array_equal(read_image(with_chunk(path, kind, content)), expected)


def test_the_orientation_of_sixteen_bits_is_noticed(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 3
    assert cv2.imwrite(str(tmp_path / "a.png"), DEEP)
    plain = read_image(tmp_path / "a.png")
    image = decode_image(with_chunk(tmp_path / "a.png", b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    np.testing.assert_array_equal(image.pixels, plain)
    assert image.oriented


@pytest.mark.parametrize("channels", [1, 3])
def test_netpbm_files_of_sixteen_bits(tmp_path: Path, channels: int):
    deep = DEEP[..., :channels]
    header = f"P{5 if channels == 1 else 6}\n7 9\n65535\n".encode()
    (tmp_path / "a.pnm").write_bytes(header + deep.astype(">u2").tobytes())
    expected = np.rint(deep.astype(np.float64) / 257).transpose(2, 0, 1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.pnm"), expected)


def test_other_files_and_a_jpeg_of_twelve_bits_are_refused(tmp_path: Path):
    """By the precision in its frame header, SOF0."""
    Image.fromarray(RGB).save(tmp_path / "a.jpg")
    data = bytearray((tmp_path / "a.jpg").read_bytes())
    data[data.index(b"\xff\xc0") + 4] = 12
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.jpg: it is not .* JPEG of 12 bits"):
        read_image(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"b\.jpg: it is not an image, .* or damaged"):
        read_image(tmp_path / "b.jpg")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp", "a.ppm"])
def test_one_limit_on_pixels(tmp_path: Path, monkeypatch, name: str):
    """Ours: Pillow's, which refuses at twice its value, is lifted and back afterwards."""
    Image.fromarray(RGB).save(tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    assert read_image(tmp_path / name).shape == (3, 9, 7)
    assert decoded_bytes(tmp_path / name) == 3 * 9 * 7
    assert Image.MAX_IMAGE_PIXELS == 20
    assert MAX_PIXELS >= 20000 * 12000
    read_image(tmp_path / name, max_pixels=63)
    with pytest.raises(ValueError, match=rf"{name}: its 7x9 = 63 pixels are more than data.max_pixels=62"):
        read_image(tmp_path / name, max_pixels=62)


@pytest.mark.parametrize(("most", "noticed"), [(0, False), (4095, True), (4096, False)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_twelve_bits_in_sixteen_are_noticed_and_read_as_they_are(
    tmp_path: Path, suffix: str, most: int, noticed: bool
):
    deep = np.minimum(DEEP, most)
    assert cv2.imwrite(str(tmp_path / f"a.{suffix}"), deep[..., ::-1])
    image = decode_image(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(image.pixels, np.rint(deep.transpose(2, 0, 1) / 257))
    assert image.twelve_bit == noticed


def test_a_damaged_stream_of_pixels_is_refused(tmp_path: Path):
    """Zeros in the middle, at the length that the header says."""
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 16] = bytes(16)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"cannot read the image .*a\.png"):
        read_image(path)


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
