"""The console command: verbs, flags, and what a user's error looks like."""

import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest
from PIL import Image

from srlab import __version__
from srlab.extensions.console.flags import parse_settings
from srlab.extensions.console.main import main
from srlab.terminal.log_lines import DETAIL, is_for_users


def error_of(capsys, *words):
    """The one line that a user's error is."""
    try:
        status = main(list(words))
    except SystemExit as ended:
        status = ended.code
    error = capsys.readouterr().err
    assert status == 2
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("word", "name", "values"),
    [
        ("n_share=0", "n_share", [0]),
        ("model.n_share=0,1,3", "n_share", [0, 1, 3]),
        ("mlp_ratio=2e-1", "mlp_ratio", [0.2]),
        ("window_sizes=[4,8,16]", "window_sizes", [[4, 8, 16]]),
        ("model.window_sizes=[4,8,16],[8,8,8]", "window_sizes", [[4, 8, 16], [8, 8, 8]]),
        ("shift_schedule=none", "shift_schedule", ["none"]),
        ("mean='a,b'", "mean", ["a,b"]),
        ("compile=null", "compile", [None]),
    ],
)
def test_settings_are_read_as_train_py_reads_them(word, name, values):
    assert parse_settings([word], several=True) == {name: values}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a=1", "model.a=2"], r"--set gives a twice: \[1\] and \[2\]"),
        (["a=[1"], r"--set a=\[1: must be NAME=VALUE, written as for train.py"),
        (["a"], "--set a: must be NAME=VALUE"),
        (["a=1,2"], "--set a=1,2: one value is needed here"),
    ],
)
def test_settings_that_cannot_be_read_are_named(words, message):
    with pytest.raises(ValueError, match=message):
        parse_settings(words)


@pytest.mark.parametrize("verbose", [False, True])
def test_files_and_back_ends_are_logged_on_request_only(tmp_path, monkeypatch, capsys, verbose):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.root, "handlers", [])  # as in a fresh program, without pytest's
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    Image.new("RGB", (8, 6)).save("photo.png")
    assert main(["upscale", "photo.png", "--model", "elan_tiny", *["--verbose"] * verbose]) == 0
    printed = capsys.readouterr()
    assert [line.partition(" ")[0] for line in printed.out.splitlines()] == ["network:", "size:", "wrote"]
    details = ("elan_tiny_x2.safetensors: srlab layout, ELAN: scale=2, dim=60", "backend auto means")
    assert [each in printed.err for each in details] == [verbose] * 2
    assert verbose or not printed.err


@pytest.mark.parametrize(
    ("name", "level", "extra", "shown"),
    [
        ("srlab.locks", logging.INFO, None, True),
        ("srlab.models.network", logging.INFO, DETAIL, False),
        ("httpx", logging.INFO, None, False),
        ("httpx", logging.WARNING, None, True),
    ],
)
def test_users_see_warnings_and_what_srlab_reports(name, level, extra, shown):
    record = logging.getLogger(name).makeRecord(name, level, "", 0, "", (), None, extra=extra)
    assert is_for_users(record) == shown


def test_version_and_help_name_the_verbs(capsys):
    for argument, texts in (
        ("--version", [f"srlab {__version__}"]),
        ("--help", ["convert", "train", "doctor"]),
    ):
        with pytest.raises(SystemExit, match=r"^0$"):
            main([argument])
        printed = capsys.readouterr().out
        assert all(text in printed for text in texts)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: VERB"),
        (["fly"], "invalid choice: 'fly'"),
        (["profile", "elan_demo", "--rounds", "0"], "--rounds: must be an integer of at least 1, got '0'"),
        (["profile", "elan_demo", "--round", "1"], "unrecognized arguments: --round"),
        (["profile", "elan_demo", "--dtype", "int8"], "--dtype: unknown value int8; choose from float32"),
        (["profile", "elan_demo", "--dtype", "float32,float32"], "must be distinct values with commas"),
        (["profile", "elan_demo", "--size", "0x10"], "--size: must be like 180x320, both sides at least 1"),
        (["profile", "elan_demo", "--size", "4x4", "--output", "8x8"], "not allowed with argument --size"),
        (["profile", "elan_demo", "--workers", "1,1"], "--workers: must be distinct"),
    ],
)
def test_wrong_flags_are_one_line(words, message, capsys):
    assert message in error_of(capsys, *words)


@pytest.mark.parametrize(
    ("words", "now"),
    [
        (["profile", "model=elan_light"], "elan_light"),
        (["profile", "elan_light", "backend=sdpa"], "--backend sdpa"),
        (["profile", "elan_light", "n_share=0"], "--set n_share=0"),
    ],
)
def test_the_old_spelling_is_answered_with_the_new_one(words, now, capsys):
    assert main(words) == 2
    assert f"instead of {words[-1]}, type {now}\n" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_applications_get_the_rest_of_the_line(verb, monkeypatch):
    """Lightning and sweeps start the program again, so its own name stays in ``sys.argv``."""
    seen = []
    monkeypatch.setitem(sys.modules, "srlab.app.application", SimpleNamespace(**{verb: seen.append}))
    monkeypatch.setattr(sys, "argv", ["srlab"])
    assert main([verb, "model=elan_demo", "--cfg", "job"]) == 0
    assert seen == [["model=elan_demo", "--cfg", "job"]]
    assert sys.argv == ["srlab"]


@pytest.mark.parametrize("words", [["--help"], ["zoo", "--published", "elan_light"]])
def test_verbs_that_compute_nothing_import_nothing_slow(words):
    program = (
        "import sys\nfrom srlab.extensions.console.main import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        "sys.exit(bool({'torch', 'hydra', 'matplotlib', 'wandb'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
