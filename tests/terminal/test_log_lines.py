"""Log lines on terminals of 80 columns and in files."""

import logging
import sys

import pytest

from srlab.terminal.log_lines import ConsoleFormatter

COMMAND = (
    "  python train.py 'resume='\\''/a folder/of some length/with (1) that is wider than a terminal'\\'''"
)


def text(message: str, level: int = logging.INFO) -> str:
    return ConsoleFormatter().format(logging.LogRecord("srlab.app.x", level, "x.py", 1, message, (), None))


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return monkeypatch


@pytest.mark.usefixtures("terminal")
def test_lines_are_folded_at_words():
    message = " ".join(f"word{number}" for number in range(40))
    lines = text(message).splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 80
    assert " ".join(text(message).split()[1:]) == message
    assert all(line.startswith(" " * 9) for line in lines[1:])


@pytest.mark.usefixtures("terminal")
def test_commands_and_long_paths_stay_whole():
    path = "/" + "x" * 100
    lines = text(f"stopped; resume with\n{COMMAND}\nin {path}", logging.WARNING).splitlines()
    assert COMMAND in lines
    assert any(path in line for line in lines)
    assert "warning: stopped; resume with" in lines[0]


def test_elsewhere_a_message_is_one_line_with_date_module_and_level():
    line = text("a " * 200)
    assert "\n" not in line
    assert "[srlab.app.x][INFO] - a a" in line
