"""Printed commands: what a shell and Hydra's own parser make of them is what was meant."""

import shlex
import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from srlab.terminal.command_lines import command, override, shell_path, typed_override

NAMES = [
    "/data/plain/run_1", "srlab-main (1)", "a=b,c", "[v2] été", "a b", " a",
    "a ", "it's", '"quoted"', "back\\slash",
    "end\\", "end\\\\", "a\\'b", "\\'", "'\\", "a\\\\'b", "two\\\\slashes",
    "a:b", "{a}", "{a:b}", "null", "True", "1",
    "007", "1e3", ".5", "inf", "nan", "", "a\nb", "a\tb", "日本", "#c", "%d",
    "~user", "!x", "-a", "+a", "@",
    "$HOME", "${HOME}", "a${oc.env:HOME}b", "\\${x}", "choice(a,b)",
    "range(1,3)", "glob(*)", "*", "?", "`ls`",
    "$(ls)", "a;b", "a&b", "a|b", "a<b>c", "..", ".hidden", "../up", "name.tar.gz", "été",
]  # fmt: skip


def understood(word: str) -> object:
    """What a configuration holds after an override."""
    parsed = OverridesParser.create().parse_override(word)
    assert not parsed.is_sweep_override()
    return OmegaConf.create({"key": parsed.value()}).key


@pytest.mark.parametrize("name", NAMES)
def test_shell_and_hydra_give_back_the_name(name):
    """Oracle: shlex for the shell, Hydra's parser and OmegaConf for the value."""
    line = command(("python", "train.py"), {"resume": name})
    program, script, word = shlex.split(line)
    assert (program, script) == ("python", "train.py")
    assert word.startswith("resume=")
    value = understood(word)
    assert (type(value), value) == (str, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_real_shell_hands_on_the_same_words(name):
    line = f"printf '%s\\0' {typed_override('+data.root', name)} {shell_path(name)}"
    printed = subprocess.run(["sh", "-c", line], capture_output=True, check=True).stdout.decode()
    word, path, _ = printed.split("\0")
    assert word == override("+data.root", name)
    assert path.removeprefix("./") == name.removeprefix("./")


@pytest.mark.parametrize("value", [None, True, False, 3, 0.5, ["a b", "c,d"], [1, None, "null"], ["it's"]])
def test_other_values_keep_their_type(value):
    assert understood(override("key", value)) == value


def test_what_needs_no_quotes_has_none():
    assert command(("python", "evaluate.py"), {"checkpoint": "outputs/elan_x4/2026-11-21_10-00-00"}) == (
        "python evaluate.py checkpoint=outputs/elan_x4/2026-11-21_10-00-00"
    )


@pytest.mark.parametrize(
    ("path", "word"), [("a=b", "a=b"), ("-x", "./-x"), ("/r/a=b", "/r/a=b"), ("a b", "'a b'")]
)
def test_paths_of_verbs_are_not_taken_for_flags(path, word):
    assert shell_path(path) == word
