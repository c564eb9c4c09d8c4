"""srlab zoo: the tables, and what it refuses."""

import pytest

from srlab.extensions.console.main import main


def test_the_table_of_the_named_networks(capsys):
    assert main(["zoo", "bicubic", "elan_light"]) == 0
    text = capsys.readouterr().out
    assert "640 (601)" in text
    assert "28.42" in text
    assert "esc" not in text


def test_published_rows_and_a_papers_count(capsys):
    assert main(["zoo", "--published", "OmniSR"]) == 0
    assert "33.05" in capsys.readouterr().out
    assert main(["zoo", "--convention", "elan_paper", "elan_light", "--scale", "2"]) == 0
    assert "168.42" in capsys.readouterr().out


def test_a_file_is_brought_up_to_date_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("srlab.extensions.zoo.networks.list_models", lambda: ["bicubic"])
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- networks -->\n<!-- end of networks -->\nb\n")
    assert main(["zoo", "--write", str(readme)]) == 0
    assert main(["zoo", "--write", str(readme)]) == 0
    printed = capsys.readouterr().out
    assert "updated" in printed
    assert "is up to date" in printed
    assert "| `bicubic` |" in readme.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["elan_lite"], "unknown model elan_lite; choose from"),
        (["--published"], "--published needs networks"),
        (["--published", "elam"], "nothing is recorded for 'elam'"),
        (["--scale", "2"], "--scale belongs to --convention"),
        (["--convention", "foo"], "unknown convention 'foo'; choose one of official"),
        (["--convention", "ntire", "--scale", "2", "esc"], "ntire is defined for networks of scale 4"),
        (["--write", "absent.md", "elan"], "name no networks"),
    ],
)
def test_what_it_cannot_do_is_one_line(arguments, message, capsys):
    assert main(["zoo", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
