"""``srlab upscale`` as users type it: results, resuming, faults, Ctrl-C."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.extensions.upscale.pictures import RGB, bicubic
from tests.image_files import save_noise

import srlab
from srlab.checkpoints import save_official, shipped
from srlab.extensions.console.main import main

PAGE = Path(__file__).parents[3] / "docs" / "upscale.md"


def upscale(*words):
    return main(["upscale", *map(str, words)])


@pytest.fixture
def photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(RGB).save("photo.png")
    return Path("photo.png")


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory):
    """A narrow network of scale 2 with fresh weights, in a file."""
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    network = srlab.create_model("edsr_baseline", scale=2, depth=1, dim=4)
    save_official(network, path)
    return path


def test_the_bare_command_enlarges_by_a_network_that_comes_with_srlab(photo, capsys):
    assert upscale(photo) == 0
    assert "network: ELAN x2 (elan_tiny, comes with srlab), float32" in capsys.readouterr().out
    assert Image.open("photo_x2.png").size == (40, 24)
    assert "srlab upscale photo.jpg  # photo_x2.jpg, beside it\n" in PAGE.read_text()


def test_without_weights_the_bare_command_enlarges_by_bicubic_and_says_so(
    photo, capsys, monkeypatch, tmp_path
):
    monkeypatch.setattr(shipped, "_FOLDER", tmp_path / "none")
    assert upscale(photo) == 0
    printed = capsys.readouterr().out
    assert "no trained weights come with this version, so that plain bicubic interpolation" in printed
    assert Image.open("photo_x2.png").size == (40, 24)


@pytest.mark.parametrize("name", ["gone.png", "gone.mp4"])
def test_an_input_that_does_not_exist_is_named_before_the_model_is_looked_for(name, photo, capsys):
    assert upscale(photo.with_name(name), "--model", "nowhere.pt") == 2
    assert capsys.readouterr().err == f"error: {name} does not exist (a pattern in quotes is not expanded)\n"


def test_scale_and_bicubic_give_the_closed_form(photo):
    assert upscale(photo, "-s", 2, "--model", "bicubic") == 0
    result = np.asarray(Image.open("photo_x2.png")).astype(int)
    np.testing.assert_allclose(result, bicubic(RGB).astype(int), atol=1)


@pytest.mark.parametrize(
    ("flags", "size"),
    [
        (["--scale", "2.5"], (50, 30)),
        (["--size", "60x30"], (50, 30)),
        (["--size", "60x60"], (60, 36)),
        (["--scale", "0.5"], (10, 6)),
        (["--scale", "x3"], (60, 36)),
        ([], (40, 24)),
    ],
)
def test_sizes_are_those_asked_for_and_the_networks_own_by_default(flags, size, photo, tiny_file, capsys):
    assert upscale(photo, "--model", tiny_file, "-o", "out.png", *flags) == 0
    assert Image.open("out.png").size == size
    assert "network: EDSR x2 (" in capsys.readouterr().out


def test_a_network_without_weights_is_refused_with_what_to_do(photo, capsys):
    assert upscale(photo, "--model", "elan_light") == 2
    assert "no trained weights for it, and random ones are useless; give a run" in capsys.readouterr().err
    assert upscale(photo, "--model", "nothing") == 2
    assert "no such file or run folder, and no weights of that name" in capsys.readouterr().err


def test_a_second_run_keeps_what_is_there(photo, capsys):
    assert upscale(photo, "-s", 2) == 0
    before = Path("photo_x2.png").stat().st_mtime_ns
    assert upscale(photo, "-s", 2) == 0
    assert "1 image(s) were there already, made in the same way" in capsys.readouterr().out
    assert Path("photo_x2.png").stat().st_mtime_ns == before


@pytest.mark.parametrize("flags", [["--ensemble"], ["--tile", "8"], ["--exact"], ["--scale", "3"]])
def test_other_options_leave_what_is_there_alone_and_fail(flags, photo, tiny_file, capsys):
    common = [photo, "-o", "out.png", "--model", tiny_file]
    assert upscale(*common) == 0
    before = Path("out.png").read_bytes()
    assert upscale(*common, *flags) == 2
    captured = capsys.readouterr()
    assert "with another network or other options; --overwrite replaces it" in " ".join(captured.out.split())
    assert captured.err.endswith("error: 1 of 1 image(s) were not enlarged as asked\n")
    assert Path("out.png").read_bytes() == before
    assert upscale(*common, *flags, "--overwrite") == 0
    assert upscale(*common, *flags) == 0


def test_another_picture_of_the_same_name_is_not_taken_for_done(photo, capsys):
    assert upscale(photo, "-s", 2) == 0
    save_noise(photo, 12, 20, 3)
    assert upscale(photo, "-s", 2) == 2
    assert "another input" in " ".join(capsys.readouterr().out.split())


def test_a_foreign_file_is_never_replaced_unasked(photo, capsys):
    save_noise(Path("photo_x2.png"), 4, 4, 3)
    assert upscale(photo, "-s", 2) == 2
    assert "is not by srlab upscale" in " ".join(capsys.readouterr().out.split())


def test_one_bad_file_does_not_stop_the_others(photo, capsys):
    Path("in").mkdir()
    for name in ("[b]a.png", "c.png"):
        save_noise(Path("in") / name, 6, 5, 3)
    Path("in/b [x].jpg").write_text("no picture")
    assert upscale("in", "-o", "out", "-s", 2) == 2
    captured = capsys.readouterr()
    assert "in/b [x].jpg" in captured.out
    assert "not an image of a supported format" in " ".join(captured.out.split())
    assert captured.err.endswith("error: 1 of 3 image(s) were not enlarged as asked\n")
    assert sorted(path.name for path in Path("out").iterdir()) == ["[b]a.png", "c.png"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which nobody can write: /proc")
def test_a_folder_that_cannot_be_written_is_a_fault_of_its_images(photo, capsys):
    assert upscale(photo, "-s", 2, "-o", "/proc/nowhere") == 2
    assert "1 of 1 image(s) were not enlarged" in capsys.readouterr().err


def test_a_file_where_a_folder_must_be_is_named(photo, capsys):
    Path("taken").write_text("")
    assert upscale(photo, "-s", 2, "-o", "taken/below") == 2
    assert "taken is not a folder" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (["--scale", "0"], "must be a positive number, got '0'"),
        (["--scale", "nan"], "must be a positive number, got 'nan'"),
        (["--size", "1920"], "must be like 1920x1080"),
        (["--scale", "2", "--size", "8x8"], "not allowed with argument"),
        (["--tile", "-1"], "must be an integer of at least 0"),
        (["--quality", "101"], "must be at most 100"),
        (["--format", "gif"], "invalid choice"),
    ],
)
def test_wrong_flags_are_refused_in_one_line(flags, fault, photo, capsys):
    with pytest.raises(SystemExit, match="2"):
        upscale(photo, *flags)
    error = capsys.readouterr().err
    assert fault in error
    assert error.count("\n") == 1


def test_tiles_and_precision_reach_the_network(photo, tiny_file):
    """The result of exact tiles is that of the whole image; bfloat16 differs by its rounding alone."""
    for name, flags in {
        "whole": ["--tile", "0"],
        "tiles": ["--tile", "8", "--exact"],
        "half": ["--precision", "bfloat16"],
    }.items():
        assert upscale(photo, "--model", tiny_file, "-o", f"{name}.png", *flags) == 0
    whole, tiles, half = (
        np.asarray(Image.open(f"{name}.png")).astype(int) for name in ("whole", "tiles", "half")
    )
    np.testing.assert_allclose(tiles, whole, atol=1)
    assert np.abs(half - whole).mean() < 4


def test_a_run_folder_is_a_model(photo, tiny_file):
    Path("run/checkpoints").mkdir(parents=True)
    shutil.copy(tiny_file, "run/checkpoints/best.ckpt")  # any layout is read there
    assert upscale(photo, "--model", "run") == 0
    assert Image.open("photo_x2.png").size == (40, 24)


# Programs started in the background of a script ignore SIGINT.
SLOW_PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from srlab.extensions.upscale import jobs
from srlab.extensions.console.main import main
enlarge = jobs.enlarge_picture
def slowly(*arguments, **options):
    print("started", flush=True)
    time.sleep(1.0)
    return enlarge(*arguments, **options)
jobs.enlarge_picture = slowly
raise SystemExit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_ctrl_c_leaves_no_half_file_and_the_same_command_resumes(photo, capsys):
    for number in range(4):
        save_noise(Path(f"in/{number}.png"), 6, 5, 3, seed=number)
    words = ["upscale", "in", "-o", "out", "-s", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_PROGRAM, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    started = 0
    while started < 2:
        started += process.stdout.readline() == "started\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped" in errors
    assert "3 image(s) are left; the same command resumes" in out
    assert sorted(path.name for path in Path("out").rglob("*")) == ["0.png"]
    before = Path("out/0.png").stat().st_mtime_ns
    assert main(words) == 0
    assert "1 image(s) were there already" in capsys.readouterr().out
    assert sorted(path.name for path in Path("out").rglob("*")) == [f"{number}.png" for number in range(4)]
    assert Path("out/0.png").stat().st_mtime_ns == before
