"""What README.md states is true: its numbers are computed, its commands compose, its links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from srlab.app.application import register
from srlab.app.presets import configuration_folder
from srlab.extensions.zoo.networks import update_readme

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_table_of_networks_is_the_one_that_the_zoo_makes(tmp_path):
    """It is rewritten by srlab.extensions.zoo.update_readme, never by hand."""
    copy = tmp_path / "README.md"
    copy.write_text(README)
    update_readme(copy)
    assert copy.read_text() == README


_JOINED = README.replace("\\\n", "")  # lines that a backslash continues
COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for line in re.findall(r"^python (?:train|evaluate)\.py.*$", _JOINED, flags=re.MULTILINE)
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_composes(command, monkeypatch):
    register()
    script, *overrides = (argument for argument in command if argument != "-m")
    # a sweep's values are commas: its first cell stands for all
    overrides = [re.sub(r"(=[\w.]+|=\[[^]]*\]),.*", r"\1", override) for override in overrides]
    with initialize_config_dir(str(configuration_folder()), version_base="1.3"):
        compose(Path(script).stem, overrides=overrides)


def test_there_are_commands_to_check():
    assert {command[0] for command in COMMANDS} == {"train.py", "evaluate.py"}


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_links_lead_to_files(target):
    assert (ROOT / target).exists()
