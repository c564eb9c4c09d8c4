"""The console command: verbs, assignments, and what a user's error looks like."""

import pytest

from srlab import __version__
from srlab.extensions.console.arguments import is_assignment, parse_assignments, refuse_unknown
from srlab.extensions.console.main import main


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("scale=4", 4), ("lr=2e-4", 2e-4), ("lr=1,2e-4", [1, 2e-4]), ("compile=true", True),
        ("resume=null", None),
        ("model=elan_light", "elan_light"), ("model=elan_light,esc", ["elan_light", "esc"]),
        ("scale=2,3", [2, 3]), ("window_sizes=[4,8,16]", [4, 8, 16]), ("name='a,b'", "a,b"), ("name=", None),
    ],
)  # fmt: skip
def test_values_are_read_as_yaml_and_commas_make_lists(word, value):
    assert is_assignment(word)
    assert parse_assignments([word]) == {word.split("=")[0]: value}


@pytest.mark.parametrize("word", ["runs/a=3", "./a=3", "--to", "=3", "3=a", "plain"])
def test_paths_and_options_set_nothing(word):
    assert not is_assignment(word)


@pytest.mark.parametrize(
    ("words", "message"),
    [(["a=1", "a=2"], "a is given twice: 1 and 2"), (["a=[1"], r"'a=\[1': the value cannot be read")],
)
def test_what_cannot_be_read_is_named(words, message):
    with pytest.raises(ValueError, match=message):
        parse_assignments(words)


def test_a_misspelt_name_is_refused():
    with pytest.raises(ValueError, match="unknown skale; known: scale, model"):
        refuse_unknown({"skale": 3}, ["scale", "model"])


def test_version_and_help_name_the_verbs(capsys):
    for argument, text in (("--version", f"srlab {__version__}"), ("--help", "convert")):
        with pytest.raises(SystemExit, match=r"^0$"):
            main([argument])
        assert text in capsys.readouterr().out


def test_no_verb_is_a_usage_error(capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main([])
    assert "VERB" in capsys.readouterr().err
