"""EXIF, XMP, colour profiles, resolution: what the enlarged file says, read back by Pillow and tifffile."""

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image
from tests.extensions.upscale.pictures import (
    GRAY,
    HEIGHT,
    RGB,
    WIDTH,
    camera_exif,
    cmyk_profile,
    deep,
    gray_profile,
    lab_to_srgb,
    save16,
    srgb,
    thumbnail_offset,
    with_chunk,
    xmp,
)

from srlab.extensions.upscale.jobs import run_job
from srlab.extensions.upscale.metadata import clean_xmp
from srlab.extensions.upscale.planning import Job
from srlab.extensions.upscale.reading import read_picture
from srlab.extensions.upscale.stamps import read_stamp

KINDS = ["png", "jpg", "webp", "tif"]


@pytest.fixture
def photo(tmp_path):
    """A photograph as cameras and editors leave it."""
    Image.fromarray(RGB).save(
        tmp_path / "photo.jpg",
        exif=camera_exif(6, thumbnail=True),
        xmp=xmp(),
        icc_profile=srgb(),
        dpi=(300, 200),
    )
    with Image.open(tmp_path / "photo.jpg") as image:
        assert thumbnail_offset(image.getexif())
    return tmp_path / "photo.jpg"


def enlarge(recipe, source, kind):
    outcome = run_job(Job(source, source.with_name(f"out.{kind}"), kind), recipe, overwrite=False)
    assert (outcome.state, outcome.reason) == ("written", "")
    return outcome


@pytest.mark.parametrize("kind", KINDS)
def test_exif_is_kept_without_orientation_and_thumbnail_and_with_the_new_size(kind, photo, bicubic_x2):
    enlarge(bicubic_x2, photo, kind)
    with Image.open(photo.with_name(f"out.{kind}")) as image:
        assert image.size == (2 * HEIGHT, 2 * WIDTH)
        exif = image.getexif()
        details, place = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
        assert thumbnail_offset(exif) is None
    assert exif[ExifTags.Base.Make] == "Maker"
    assert details[ExifTags.Base.DateTimeOriginal] == "2020:01:02 03:04:05"
    assert place[2] == (48.0, 8.0, 0.0)
    assert (details[ExifTags.Base.ExifImageWidth], details[ExifTags.Base.ExifImageHeight]) == image.size
    # Pillow takes it from XMP where EXIF says nothing
    assert exif.get(ExifTags.Base.Orientation, 1) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_colour_profile_is_kept_and_the_colours_are_not_converted(kind, photo, bicubic_x2):
    enlarge(bicubic_x2, photo, kind)
    with Image.open(photo.with_name(f"out.{kind}")) as image:
        assert image.info["icc_profile"] == srgb()


@pytest.mark.parametrize("kind", KINDS)
def test_xmp_is_kept_with_its_orientation_reset(kind, photo, bicubic_x2):
    enlarge(bicubic_x2, photo, kind)
    path = photo.with_name(f"out.{kind}")
    if kind == "tif":
        with tifffile.TiffFile(path) as file:
            packet = file.pages.first.tags[700].value
    else:
        with Image.open(path) as image:
            packet = image.info["xmp"]
    assert xmp(1).decode() == (packet if isinstance(packet, str) else bytes(packet).decode())


def test_xmp_of_elements_is_reset_too_and_thumbnails_go():
    packet = b"<r><tiff:Orientation>8</tiff:Orientation><xmp:Thumbnails>a\nb</xmp:Thumbnails></r>"
    assert clean_xmp(packet) == b"<r><tiff:Orientation>1</tiff:Orientation></r>"


@pytest.mark.parametrize("kind", ["png", "jpg", "tif"])
def test_the_resolution_of_prints_turns_with_the_picture(kind, photo, bicubic_x2):
    enlarge(bicubic_x2, photo, kind)
    with Image.open(photo.with_name(f"out.{kind}")) as image:
        assert image.info["dpi"] == pytest.approx((200, 300), abs=0.02)


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_deep_files_keep_profile_and_exif(kind, tmp_path, bicubic_x2):
    save16(tmp_path / "deep.png", deep(RGB))
    data = with_chunk((tmp_path / "deep.png").read_bytes(), b"eXIf", camera_exif().removeprefix(b"Exif\0\0"))
    (tmp_path / "deep.png").write_bytes(data)
    enlarge(bicubic_x2, tmp_path / "deep.png", kind)
    with Image.open(tmp_path / f"out.{kind}") as image:
        assert image.getexif().get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"
        image.load()


def test_a_gray_picture_keeps_a_gray_profile_and_loses_one_of_rgb(tmp_path, bicubic_x2):
    Image.fromarray(GRAY).save(tmp_path / "gray.png", icc_profile=gray_profile())
    assert enlarge(bicubic_x2, tmp_path / "gray.png", "png").notes == ()
    with Image.open(tmp_path / "out.png") as image:
        assert image.mode == "L"
        assert image.info["icc_profile"] == gray_profile()
    Image.fromarray(GRAY).save(tmp_path / "rgb.png", icc_profile=srgb())
    outcome = enlarge(bicubic_x2, tmp_path / "rgb.png", "tif")
    assert outcome.notes == ("a colour profile of another kind than the picture was left out",)


# Inks, and colours of them that Pillow's formula does not give: it has cyan, magenta, yellow, black.
PRINTED = {
    (0, 0, 0, 0): (255, 128, 128),
    (1, 0, 0, 0): (140, 168, 98),
    (0, 1, 0, 0): (190, 108, 158),
    (0, 0, 1, 0): (115, 138, 78),
    (0, 0, 0, 1): (40, 128, 128),
}


@pytest.mark.parametrize("kind", ["jpg", "tif"])
def test_cmyk_goes_through_its_profile(kind, tmp_path, bicubic_x2):
    """Oracle: the colours that the profile has for full inks, by the formulas of CIELAB and sRGB."""
    stripes = np.repeat(255 * np.array(list(PRINTED), np.uint8), 16, axis=0)  # two blocks of JPEG each
    inks = Image.fromarray(np.tile(stripes, (16, 1, 1)), "CMYK")
    options = {"quality": 100, "subsampling": 0} if kind == "jpg" else {}
    inks.save(tmp_path / f"in.{kind}", icc_profile=cmyk_profile(PRINTED), **options)
    outcome = enlarge(bicubic_x2, tmp_path / f"in.{kind}", "png")
    assert outcome.notes == ("CMYK was converted to sRGB through its colour profile",)
    with Image.open(tmp_path / "out.png") as image:
        assert image.info["icc_profile"][16:20] == b"RGB "
        found = np.asarray(image)[16, 16::32]  # the middles of the stripes
    expected = np.stack([lab_to_srgb(lab) for lab in PRINTED.values()])
    np.testing.assert_allclose(found.astype(int), expected, atol=2)


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_are_read_from_each_format(kind, photo, bicubic_x2):
    enlarge(bicubic_x2, photo, kind)
    again = read_picture(photo.with_name(f"out.{kind}").read_bytes()).metadata
    assert again.icc == srgb()
    assert again.xmp == xmp(1)
    assert again.exif is not None
    exif = Image.Exif()
    exif.load(again.exif)
    assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] == "2020:01:02 03:04:05"
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"
    if kind != "webp":  # which has no such field outside of EXIF
        assert again.dpi == pytest.approx((200, 300), abs=0.02)


def test_damaged_exif_is_left_out_and_said(tmp_path, bicubic_x2):
    Image.fromarray(RGB).save(tmp_path / "in.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xffdamaged")
    outcome = enlarge(bicubic_x2, tmp_path / "in.jpg", "jpg")
    with Image.open(tmp_path / "out.jpg") as image:
        assert set(image.getexif()) == {ExifTags.Base.ProcessingSoftware}
    assert outcome.notes in ((), ("damaged EXIF data were left out",))


def test_exif_that_is_too_long_for_a_jpeg_loses_the_makers_notes_first(tmp_path, bicubic_x2):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = bytes(70000)
    Image.fromarray(RGB).save(tmp_path / "in.png", exif=exif)
    outcome = enlarge(bicubic_x2, tmp_path / "in.png", "jpg")
    assert outcome.notes == ("the camera maker's notes were too long for JPEG and were left out",)
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.getexif()[ExifTags.Base.Make] == "Maker"


def test_jpeg_keeps_full_colour_resolution(photo, bicubic_x2):
    enlarge(bicubic_x2, photo, "jpg")
    with Image.open(photo.with_name("out.jpg")) as image:
        assert {layer[1:3] for layer in image.layer} == {(1, 1)}


@pytest.mark.parametrize("kind", KINDS)
def test_each_file_says_what_made_it(kind, photo, bicubic_x2):
    enlarge(bicubic_x2, photo, kind)
    stamp = read_stamp(photo.with_name(f"out.{kind}"))
    assert stamp is not None
    assert f"model {bicubic_x2.upscaler.digest} float32; x2" in stamp
    assert read_stamp(photo) is None
