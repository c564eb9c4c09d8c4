"""Files of every kind that people have: enlarged with the right pixels, or refused with the reason."""

import io
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps
from tests.extensions.upscale.pictures import (
    ALPHA,
    GRAY,
    HEIGHT,
    RGB,
    WIDTH,
    bicubic,
    camera_exif,
    deep,
    png_text,
    save16,
    with_chunk,
)
from tests.tiff_files import ASSOCIATED, UNASSOCIATED, WHITE_IS_ZERO, write_tiff
from tests.tiff_files import BLACK_IS_ZERO as BLACK
from tests.tiff_files import RGB as RGB_TIFF

from srlab.extensions.upscale.jobs import run_job
from srlab.extensions.upscale.planning import Job

IMAGE = Image.fromarray(RGB)
OPAQUE = np.full_like(GRAY, 255)
RGBA, LA = np.dstack([RGB, ALPHA]), np.dstack([GRAY, ALPHA])


def saved(image, **options):
    return lambda path: image.save(path, **options)


def transparent_palette(path):
    image = Image.fromarray((np.arange(HEIGHT * WIDTH) % 5).astype(np.uint8).reshape(HEIGHT, WIDTH), "P")
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 255, 0, 9, 9, 9, 255, 255, 255])
    image.save(path, transparency=bytes([255, 255, 255, 255, 255]))


def multiplied(path):
    write_tiff(path, np.dstack([RGB // 2, np.full_like(GRAY, 128)]), RGB_TIFF, extra=[ASSOCIATED])


PALETTE = np.array([[10, 20, 30], [200, 100, 50], [0, 255, 0], [9, 9, 9], [255, 255, 255]], np.uint8)
# name: how it is made, the pixels in it; the name of the result ends in png or tif
RIGHT = {
    "rgb.png": (saved(IMAGE), RGB),
    "gray.png": (saved(Image.fromarray(GRAY)), GRAY),
    "rgb16.png": (lambda path: save16(path, deep(RGB)), deep(RGB)),
    "gray16.png": (lambda path: save16(path, deep(GRAY)), deep(GRAY)),
    "one bit.png": (saved(Image.fromarray(GRAY > 128)), (GRAY > 128) * OPAQUE),
    "palette.png": (
        transparent_palette,
        PALETTE[(np.arange(HEIGHT * WIDTH) % 5).reshape(HEIGHT, WIDTH)],
    ),
    "opaque alpha.png": (saved(Image.fromarray(np.dstack([RGB, OPAQUE]))), RGB),
    "text.png": (lambda path: png_text(IMAGE, path, 3 * 2**20), RGB),
    "rgb.bmp": (saved(IMAGE), RGB),
    "rgb.ppm": (saved(IMAGE), RGB),
    "gray.pgm": (saved(Image.fromarray(GRAY)), GRAY),
    "still.gif": (saved(Image.fromarray(GRAY)), np.dstack([GRAY] * 3)),
    "lossless.webp": (saved(IMAGE, lossless=True), RGB),
    "a jpeg.png": (saved(IMAGE, format="JPEG", quality=100, subsampling=0), None),
    "photo.jpeg": (saved(IMAGE, quality=90), None),
    "gray.jpg": (saved(Image.fromarray(GRAY), quality=90), None),
    "rgb.tif": (saved(IMAGE), RGB),
    "lzw.tif": (saved(IMAGE, compression="tiff_lzw"), RGB),
    "gray16.tif": (lambda path: tifffile.imwrite(path, deep(GRAY)), deep(GRAY)),
    "rgb16.tif": (lambda path: tifffile.imwrite(path, deep(RGB), photometric="rgb"), deep(RGB)),
    "planar16.tif": (lambda path: write_tiff(path, deep(RGB), RGB_TIFF, planar=True), deep(RGB)),
    "big endian.tif": (lambda path: write_tiff(path, deep(RGB), RGB_TIFF, big_endian=True), deep(RGB)),
    "white is zero.tif": (lambda path: write_tiff(path, 65535 - deep(GRAY), WHITE_IS_ZERO), deep(GRAY)),
    "one pixel wide.png": (saved(Image.fromarray(RGB[:, :1])), RGB[:, :1]),
    "one pixel.png": (saved(Image.fromarray(RGB[:1, :1])), RGB[:1, :1]),
}
REFUSED = {
    "animation.gif": (
        saved(IMAGE, save_all=True, append_images=[IMAGE.rotate(180)]),
        "an animation of 2 frames",
    ),
    "animation.webp": (
        saved(IMAGE, save_all=True, append_images=[IMAGE.rotate(180)]),
        "an animation of 2 frames",
    ),
    "animation.png": (
        saved(IMAGE, save_all=True, append_images=[IMAGE.rotate(180)]),
        "an animation of 2 frames",
    ),
    "pages.tif": (saved(IMAGE, save_all=True, append_images=[IMAGE]), "it has 2 pages"),
    "float.tif": (saved(Image.fromarray(GRAY.astype(np.float32))), "ieeefp.* is not supported"),
    "multiplied.tif": (multiplied, "colours multiplied by their alpha"),
    "empty.png": (lambda path: path.touch(), "the file is empty"),
    "page.jpg": (lambda path: path.write_text("<html>404</html>"), "not an image of a supported format"),
    "photo.heic": (
        lambda path: path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(99)),
        "HEIC or AVIF .*convert it",
    ),
}


def cut(make, share=0.6):
    def made(path):
        make(path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return made


REFUSED |= {
    f"cut {name}": (cut(RIGHT[name][0]), "damaged|truncated")
    for name in ("rgb.png", "rgb16.png", "photo.jpeg", "rgb.tif", "rgb16.tif", "rgb.bmp", "lossless.webp")
}


def enlarge(recipe, source, destination, kind="png"):
    return run_job(Job(source, destination, kind), recipe, overwrite=False)


@pytest.mark.parametrize("kind", ["png", "tif"])
@pytest.mark.parametrize("name", RIGHT)
def test_pixels_are_those_of_the_closed_form_with_their_depth_and_channels(name, kind, tmp_path, bicubic_x2):
    make, pixels = RIGHT[name]
    make(tmp_path / name)
    if pixels is None:
        pixels = np.asarray(Image.open(tmp_path / name))
    outcome = enlarge(bicubic_x2, tmp_path / name, tmp_path / f"out.{kind}", kind)
    assert (outcome.state, outcome.reason) == ("written", "")
    read = read_png if kind == "png" else tifffile.imread
    result, expected = read(tmp_path / f"out.{kind}"), wide_bicubic(pixels)
    assert result.dtype == expected.dtype
    # float32 against the closed form in float64: ties may be rounded otherwise
    np.testing.assert_allclose(result.astype(int), expected.astype(int), atol=1)
    assert expected.dtype == np.uint16 or (result != expected).mean() < 0.05


def wide_bicubic(pixels):
    """The closed form mirrors two pixels at each side; narrower images repeat their one row or column."""
    if min(pixels.shape[:2]) > 1:
        return bicubic(pixels)
    repeats = [(0, 2 if side == 1 else 0) for side in pixels.shape[:2]] + [(0, 0)] * (pixels.ndim - 2)
    height, width = (2 * side for side in pixels.shape[:2])
    return bicubic(np.pad(pixels, repeats, mode="edge"))[:height, :width]


def read_png(path):
    samples = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return samples if samples.ndim == 2 else samples[..., [2, 1, 0, 3][: samples.shape[2]]]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_enlarged_is_refused_with_the_reason_and_writes_nothing(name, tmp_path, bicubic_x2):
    make, reason = REFUSED[name]
    make(tmp_path / name)
    outcome = enlarge(bicubic_x2, tmp_path / name, tmp_path / "out" / "out.png")
    assert outcome.state == "failed"
    assert re.search(reason, outcome.reason)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("samples", [RGBA, LA, deep(RGBA), deep(LA)], ids=["rgba", "la", "rgba16", "la16"])
def test_transparent_tiffs_keep_channels_and_depth(samples, tmp_path, bicubic_x2):
    photometric = RGB_TIFF if samples.shape[2] == 4 else BLACK
    write_tiff(tmp_path / "in.tif", samples, photometric, extra=[UNASSOCIATED])
    assert enlarge(bicubic_x2, tmp_path / "in.tif", tmp_path / "out.tif", "tif").state == "written"
    result = tifffile.imread(tmp_path / "out.tif")
    assert result.dtype == samples.dtype
    np.testing.assert_allclose(
        result[..., -1].astype(int),
        bicubic(samples)[..., -1].astype(int),
        atol=1 if samples.max() < 256 else 2,
    )


@pytest.mark.parametrize("samples", [RGBA, LA, deep(RGBA)], ids=["rgba", "la", "rgba16"])
def test_png_tiff_and_webp_hold_the_same_transparent_picture(samples, tmp_path, bicubic_x2):
    photometric = RGB_TIFF if samples.shape[2] == 4 else BLACK
    write_tiff(tmp_path / "in.tif", samples, photometric, extra=[UNASSOCIATED])
    for kind in ("png", "tif", "webp"):
        assert enlarge(bicubic_x2, tmp_path / "in.tif", tmp_path / f"out.{kind}", kind).state == "written"
    with Image.open(tmp_path / "out.webp") as image:
        web = np.asarray(image).astype(int)
    tiff, png = tifffile.imread(tmp_path / "out.tif"), read_png(tmp_path / "out.png")
    if samples.shape[2] == 2:  # OpenCV repeats gray, WebP has none
        png, web = png[..., [0, 3]], web[..., [0, 3]]
    np.testing.assert_array_equal(png, tiff)
    np.testing.assert_allclose(web, tiff / (257 if tiff.dtype == np.uint16 else 1), atol=0.51)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "webp", "tif", "jpg"])
def test_orientation_is_applied_once_and_removed(orientation, ending, tmp_path, bicubic_x2):
    """Oracle: Pillow's exif_transpose of the file, enlarged."""
    options = {"webp": {"lossless": True}, "jpg": {"quality": 95}}.get(ending, {})
    exif = camera_exif(orientation)
    source = tmp_path / f"in.{ending}"
    if ending == "tif":
        write_tiff(source, RGB, RGB_TIFF, orientation=orientation)
        turned = Image.fromarray(RGB)
        turned.getexif()[0x112] = orientation
    else:
        IMAGE.save(source, exif=exif, **options)
        turned = Image.open(source)
    upright = np.asarray(ImageOps.exif_transpose(turned))
    assert enlarge(bicubic_x2, source, tmp_path / "out.png").state == "written"
    with Image.open(tmp_path / "out.png") as result:
        np.testing.assert_allclose(np.asarray(result).astype(int), bicubic(upright).astype(int), atol=1)
        assert result.getexif().get(0x112, 1) == 1


def test_cmyk_becomes_srgb_through_its_profile_and_says_so(tmp_path, bicubic_x2):
    """A profile that ImageCms can use for CMYK does not come with it; one that is damaged is not trusted."""
    IMAGE.convert("CMYK").save(tmp_path / "in.tif")
    outcome = enlarge(bicubic_x2, tmp_path / "in.tif", tmp_path / "out.png")
    assert outcome.notes == (
        "CMYK, which has no profile, was converted to RGB by formula: colours are rough",
    )
    # without black, Pillow's formula is the inverse of its own conversion
    np.testing.assert_allclose(read_png(tmp_path / "out.png").astype(int), bicubic(RGB).astype(int), atol=1)
    IMAGE.convert("CMYK").save(tmp_path / "damaged.tif", icc_profile=b"damaged")
    outcome = enlarge(bicubic_x2, tmp_path / "damaged.tif", tmp_path / "damaged.png")
    assert "CMYK, whose profile is damaged" in outcome.notes[0]


def test_lab_becomes_srgb_and_says_so(tmp_path, bicubic_x2):
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(IMAGE, to_lab)
    assert lab is not None
    lab.save(tmp_path / "lab.tif")
    outcome = enlarge(bicubic_x2, tmp_path / "lab.tif", tmp_path / "out.png")
    assert outcome.notes == ("CIELAB was converted to sRGB",)
    difference = read_png(tmp_path / "out.png").astype(int) - bicubic(RGB)
    assert np.abs(difference).mean() < 1  # some of its colours are outside of 8-bit CIELAB


def test_sixteen_bits_become_eight_where_the_format_holds_no_more_and_it_is_said(tmp_path, bicubic_x2):
    save16(tmp_path / "in.png", deep(RGB))
    for kind, name in (("webp", "WebP"), ("jpg", "JPEG")):
        outcome = enlarge(bicubic_x2, tmp_path / "in.png", tmp_path / f"out.{kind}", kind)
        assert outcome.notes == (f"16 bits became 8, the most that {name} holds",)


def test_a_transparent_colour_of_a_deep_png_is_ignored_and_it_is_said(tmp_path, bicubic_x2):
    save16(tmp_path / "in.png", deep(RGB))
    data = (tmp_path / "in.png").read_bytes()
    (tmp_path / "in.png").write_bytes(with_chunk(data, b"tRNS", bytes(6)))
    outcome = enlarge(bicubic_x2, tmp_path / "in.png", tmp_path / "out.png")
    assert outcome.notes == ("the transparent colour of a 16-bit PNG was ignored",)
    assert read_png(tmp_path / "out.png").shape == (2 * HEIGHT, 2 * WIDTH, 3)


def test_the_first_picture_of_a_jpeg_with_several_is_enlarged(tmp_path, bicubic_x2):
    """As telephones and stereo cameras write them (MPO)."""
    IMAGE.save(tmp_path / "in.jpg", "MPO", save_all=True, append_images=[IMAGE.rotate(180)], quality=95)
    outcome = enlarge(bicubic_x2, tmp_path / "in.jpg", tmp_path / "out.png")
    assert outcome.notes == ("further pictures in a JPEG (stereo, preview, gain map) were left out",)
    with Image.open(tmp_path / "in.jpg") as first:
        expected = bicubic(np.asarray(first))
    np.testing.assert_allclose(read_png(tmp_path / "out.png").astype(int), expected.astype(int), atol=1)


def test_what_is_lost_of_a_deep_ppm_and_of_a_gamma_is_said(tmp_path, bicubic_x2):
    save16(tmp_path / "deep.ppm", deep(RGB))
    outcome = enlarge(bicubic_x2, tmp_path / "deep.ppm", tmp_path / "a.png")
    assert "16 bits a sample was read with 8" in outcome.notes[0]
    IMAGE.save(tmp_path / "in.png")
    linear = with_chunk((tmp_path / "in.png").read_bytes(), b"gAMA", (100000).to_bytes(4, "big"))
    (tmp_path / "in.png").write_bytes(linear)
    outcome = enlarge(bicubic_x2, tmp_path / "in.png", tmp_path / "b.png")
    assert "an unusual gamma of a PNG (gAMA) was left out" in outcome.notes[0]


@pytest.mark.parametrize(
    ("size", "kind", "fault"),
    [
        ((2, 16384), "webp", "16384x2 is too large for WebP"),
        ((65502, 2), "jpg", "2x65502 is too large for JPEG"),
    ],
)
def test_sides_that_a_format_cannot_hold_are_refused_before_the_network_runs(
    size, kind, fault, tmp_path, bicubic_x2, monkeypatch
):
    monkeypatch.setattr("srlab.extensions.upscale.jobs.enlarge_picture", None)
    Image.new("L", (size[1] // 2, size[0] // 2)).save(tmp_path / "in.png")
    target = replace(bicubic_x2.target, scale=None, box=size[::-1])
    outcome = enlarge(replace(bicubic_x2, target=target), tmp_path / "in.png", tmp_path / "out", kind)
    assert outcome.state == "failed"
    assert fault in outcome.reason
    assert "--format png" in outcome.reason


def test_transparency_is_refused_for_jpeg(tmp_path, bicubic_x2):
    Image.fromarray(RGBA).save(tmp_path / "in.png")
    outcome = enlarge(bicubic_x2, tmp_path / "in.png", tmp_path / "out.jpg", "jpg")
    assert "transparent parts, which JPEG cannot hold" in outcome.reason


def test_values_that_are_not_finite_are_an_error_not_noise(tmp_path, bicubic_x2, monkeypatch):
    IMAGE.save(tmp_path / "in.png")
    monkeypatch.setattr(
        "srlab.extensions.upscale.planes.enlarge", lambda *_, **__: np.full((24, 40, 3), np.nan, np.float32)
    )
    outcome = enlarge(bicubic_x2, tmp_path / "in.png", tmp_path / "out.png")
    assert "NaN or infinite" in outcome.reason
    assert not (tmp_path / "out.png").exists()


def test_the_format_is_recognised_by_content(tmp_path, bicubic_x2):
    buffer = io.BytesIO()
    IMAGE.save(buffer, "PNG")
    (tmp_path / "a png.jpg").write_bytes(buffer.getvalue())
    assert enlarge(bicubic_x2, tmp_path / "a png.jpg", tmp_path / "out.png").state == "written"
    np.testing.assert_allclose(read_png(tmp_path / "out.png").astype(int), bicubic(RGB).astype(int), atol=1)
