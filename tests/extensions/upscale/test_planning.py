"""Which files are enlarged and what results are called."""

from pathlib import Path

import pytest
from PIL import Image
from tests.image_files import save_noise, touch

from srlab.extensions.upscale.planning import Naming, plan


def files(top, *names):
    for name in names:
        save_noise(top / name, 4, 4, 3)


def planned(inputs, out=None, *, suffix=None, kind=None, target="x2"):
    """Results by their inputs' names, relative to the folder of the first input."""
    top = Path(inputs[0]).parent.resolve()
    jobs = plan([Path(each) for each in inputs], Naming(out, suffix, kind, target)).jobs
    return {str(job.source.relative_to(top)): str(job.destination.relative_to(top)) for job in jobs}


def test_without_out_results_are_beside_their_originals_with_the_scale_in_the_name(tmp_path):
    files(tmp_path, "a.jpg", "b/c.bmp")
    found = planned([tmp_path / "a.jpg", tmp_path / "b" / "c.bmp"], target="x2.5")
    assert found == {"a.jpg": "a_x2.5.jpg", "b/c.bmp": "b/c_x2.5.png"}


def test_without_out_a_folder_gets_one_beside_it_with_the_same_hierarchy(tmp_path):
    files(tmp_path / "in", "a.jpg", "b/c.TIF", "b/d/e.webp", ".hidden/f.png")
    assert planned([tmp_path / "in"]) == {
        "in/a.jpg": "in_x2/a.jpg",
        "in/b/c.TIF": "in_x2/b/c.TIF",
        "in/b/d/e.webp": "in_x2/b/d/e.webp",
    }


def test_with_out_names_stay_unless_a_suffix_is_given(tmp_path):
    files(tmp_path / "in", "a.jpg", "b/c.jpeg")
    out = tmp_path / "out"
    assert planned([tmp_path / "in"], out) == {"in/a.jpg": "out/a.jpg", "in/b/c.jpeg": "out/b/c.jpeg"}
    assert planned([tmp_path / "in"], out, suffix="-large", kind="png") == {
        "in/a.jpg": "out/a-large.png",
        "in/b/c.jpeg": "out/b/c-large.png",
    }


def test_several_folders_keep_their_names(tmp_path):
    files(tmp_path, "one/a.png", "two/a.png")
    found = planned([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    assert found == {"one/a.png": "out/one/a.png", "two/a.png": "out/two/a.png"}


def test_same_stems_of_different_formats_do_not_meet(tmp_path):
    files(tmp_path / "in", "a.jpg", "a.png", "A.bmp", "b.png", "x/a.png")
    found = planned([tmp_path / "in"], tmp_path / "out", kind="png")
    assert found == {
        "in/A.bmp": "out/A_bmp.png",
        "in/a.jpg": "out/a_jpg.png",
        "in/a.png": "out/a_png.png",
        "in/b.png": "out/b.png",
        "in/x/a.png": "out/x/a.png",
    }


def test_files_of_one_name_from_several_folders_are_numbered(tmp_path):
    files(tmp_path, "one/a.png", "two/a.png")
    inputs = [tmp_path / "one" / "a.png", tmp_path / "two" / "a.png"]
    jobs = plan(inputs, Naming(tmp_path / "out", None, None, "x2")).jobs
    assert [job.destination.name for job in jobs] == ["a_png.png", "a_png~2.png"]


def test_an_input_that_is_given_twice_counts_once(tmp_path):
    files(tmp_path, "in/a.png")
    assert len(planned([tmp_path / "in", tmp_path / "in" / "a.png"], tmp_path / "out")) == 1


@pytest.mark.parametrize(
    "name", ["[v2] été.png", "a b=c,d.jpg", "*.webp", "100% [red]x[/red].tif", "日本.png"]
)
def test_odd_names_are_kept(name, tmp_path):
    files(tmp_path / "in [x]", name)
    assert planned([tmp_path / "in [x]"], tmp_path / "out") == {f"in [x]/{name}": f"out/{name}"}


def test_outputs_inside_the_input_folder_are_not_enlarged_again(tmp_path):
    files(tmp_path / "in", "a.png", "out/a.png")
    assert planned([tmp_path / "in"], tmp_path / "in" / "out") == {"in/a.png": "in/out/a.png"}


def test_out_may_be_the_folder_itself_with_a_suffix_or_the_one_around_it(tmp_path):
    files(tmp_path / "in", "a.png")
    assert planned([tmp_path / "in"], tmp_path / "in", suffix="_x2") == {"in/a.png": "in/a_x2.png"}
    assert planned([tmp_path / "in"], tmp_path) == {"in/a.png": "a.png"}


def marked(path):
    """A picture that an earlier run made."""
    exif = Image.Exif()
    exif[11] = "srlab upscale 0; x4"
    Image.new("RGB", (4, 4)).save(path, exif=exif)


def test_earlier_outputs_elsewhere_in_the_folder_are_left_out_and_counted(tmp_path):
    files(tmp_path / "in", "a.png")
    marked(tmp_path / "in" / "larger.png")
    found = plan([tmp_path / "in"], Naming(tmp_path / "out", None, None, "x2"))
    assert [job.source.name for job in found.jobs] == ["a.png"]
    assert found.notes == ("left out: 1 image(s) that srlab upscale made",)


def test_results_among_the_inputs_of_one_pattern_are_left_out(tmp_path):
    """The second run of ``srlab upscale *.png``."""
    files(tmp_path, "a.png")
    marked(tmp_path / "a_x2.png")
    found = plan([tmp_path / "a.png", tmp_path / "a_x2.png"], Naming(None, None, None, "x2"))
    assert [job.source.name for job in found.jobs] == ["a.png"]
    assert found.notes == ("left out: 1 results of other images of this command",)


def test_an_input_that_has_the_name_of_anothers_result_is_never_replaced(tmp_path):
    files(tmp_path, "a.png", "a_x2.png")
    with pytest.raises(ValueError, match=r"a\.png would be enlarged into .*a_x2\.png, an input; give --out"):
        plan([tmp_path / "a.png", tmp_path / "a_x2.png"], Naming(None, None, None, "x2"))


def test_unsupported_formats_are_counted(tmp_path):
    files(tmp_path / "in", "a.png")
    touch(tmp_path / "in" / "b.HEIC")
    touch(tmp_path / "in" / "notes.txt")
    found = plan([tmp_path / "in"], Naming(tmp_path / "out", None, None, "x2"))
    assert found.notes == ("left out: 1 .heic file(s), a format that is not supported",)


@pytest.mark.parametrize("name", ["large.tif", "new/large.JPG"])
def test_out_is_a_file_for_one_image_if_its_name_says_so(name, tmp_path):
    files(tmp_path, "a.png")
    (job,) = plan([tmp_path / "a.png"], Naming(tmp_path / name, None, None, "x2")).jobs
    assert (job.destination, job.kind) == (tmp_path / name, name[-3:].lower())


def test_out_is_a_folder_otherwise_even_one_with_a_name_like_a_file(tmp_path):
    files(tmp_path, "a.png")
    (tmp_path / "odd.png").mkdir()
    assert planned([tmp_path / "a.png"], tmp_path / "odd.png") == {"a.png": "odd.png/a.png"}
    assert planned([tmp_path / "a.png"], tmp_path / "new") == {"a.png": "new/a.png"}


@pytest.mark.parametrize(
    ("inputs", "naming", "fault"),
    [
        (["a.png", "b.png"], {"out": "x.png"}, "name of one file, but several images"),
        (["."], {"out": "x.png"}, "name of one file, but several images"),
        (["a.png"], {"out": "x.png", "kind": "jpg"}, "contradict each other"),
        (["a.png"], {"out": "x.png", "suffix": "y"}, "is the whole name"),
        (["a.png"], {"out": "notes.txt"}, "is a file, but of no format"),
        (["a.png"], {"out": "new.HEIC"}, r"--out new\.HEIC: \.HEIC cannot be written; use \.png"),
        (["a.png", "b.png"], {"out": "new.bmp"}, r"\.bmp cannot be written"),
        (["a.png"], {"out": "new.mp4"}, r"\.mp4 cannot be written"),
        (["a.png"], {"out": "."}, "an input; give --out or --suffix"),
        (["a.png"], {"suffix": ""}, "an input; give --out or --suffix"),
        (["empty"], {}, "there is no image to enlarge in"),
    ],
)
def test_what_cannot_be_meant_is_refused(inputs, naming, fault, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files(tmp_path, "a.png", "b.png")
    touch(tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    out = naming.pop("out", None)
    given = Naming(out and Path(out), naming.get("suffix"), naming.get("kind"), "x2")
    with pytest.raises(ValueError, match=fault):
        plan([Path(each) for each in inputs], given)
