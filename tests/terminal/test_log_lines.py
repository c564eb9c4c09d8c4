"""Log lines on terminals and in files."""

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
def terminal(monkeypatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)


@pytest.mark.usefixtures("terminal")
def test_commands_and_paths_stay_as_they_are_below_a_short_head():
    message = f"stopped; resume with\n{COMMAND}\nin /{'x' * 100}"
    head, _, rest = text(message, logging.WARNING).partition(" ")
    assert len(head) == len("13:40:59")
    assert rest == f"WARNING: {message}"
    assert text("begins").endswith(" begins")


def test_elsewhere_a_message_is_one_line_with_date_module_and_level():
    line = text("a " * 200)
    assert "\n" not in line
    assert "[srlab.app.x][INFO] - a a" in line
