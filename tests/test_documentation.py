"""Statements of README.md and docs/ hold: links lead to files, commands parse, tables are computed."""

import re

import pytest
from hydra import compose, initialize_config_dir

from documented_commands import PAGES, README, commands
from srlab.app.application import register
from srlab.app.presets import configuration_folder
from srlab.extensions.console.main import _parsers, main

HYDRA = [("train", words) for words in commands("python train.py")]
HYDRA += [("evaluate", words) for words in commands("python evaluate.py")]


@pytest.mark.parametrize(("application", "words"), HYDRA, ids=str)
def test_commands_of_the_applications_compose(application, words):
    register()
    if any(word.startswith("--") for word in words):
        pytest.skip("an option of Hydra's own, not an override")
    # a sweep's values are separated by commas: its first cell stands for all
    overrides = [re.sub(r"(=[\w.]+|=\[[^]]*\]),.*", r"\1", word) for word in words if word != "-m"]
    with initialize_config_dir(str(configuration_folder()), version_base="1.3"):
        compose(application, overrides=overrides)


@pytest.mark.parametrize("words", commands("srlab"), ids=" ".join)
def test_commands_of_the_console_parse(words):
    parser, _ = _parsers()
    parser.parse_args(words)


def test_there_are_commands_to_check():
    assert {application for application, _ in HYDRA} == {"train", "evaluate"}
    assert {"report", "profile", "convert"} <= {words[0] for words in commands("srlab")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    targets = re.findall(r"\]\((?!http|#)([^)#]+)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_readme_is_short_but_for_the_generated_table():
    table = r"<!-- networks -->.*<!-- end of networks -->\n"
    written, tables = re.subn(table, "", README.read_text(), flags=re.DOTALL)
    assert tables == 1
    assert len(written.splitlines()) <= 123


@pytest.mark.slow
def test_table_of_networks_is_the_one_that_the_zoo_makes(tmp_path):
    """It is written by this documented command, never by hand."""
    copy = tmp_path / "README.md"
    copy.write_text(README.read_text())
    assert main(["zoo", "--write", str(copy)]) == 0
    assert copy.read_text() == README.read_text()
