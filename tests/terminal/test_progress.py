"""Progress where nobody watches a terminal: one line a minute, in the log."""

import logging

import pytest

from srlab.terminal import progress
from srlab.terminal.progress import duration, progress_bar, tracked


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_there_is_one_line_a_minute_and_no_carriage_return(clock, caplog, capsys):
    caplog.set_level(logging.INFO)
    taken = []
    for item in tracked(range(10), "decoding [v2] été", total=10):
        taken.append(item)
        clock[0] += 25
    assert taken == list(range(10))
    assert [record.getMessage() for record in caplog.records] == [
        "decoding [v2] été: 3 of 10, about 175 s left".replace("175 s", "3 min"),
        "decoding [v2] été: 6 of 10, about 100 s left".replace("100 s", "2 min"),
        "decoding [v2] été: 9 of 10, about 25 s left",
    ]
    assert capsys.readouterr() == ("", "")


def test_quick_work_and_hidden_work_say_nothing(clock, caplog):
    caplog.set_level(logging.INFO)
    assert list(tracked(range(3), "scoring", total=3)) == [0, 1, 2]
    for _ in tracked(range(3), "scoring", total=3, shown=False):
        clock[0] += 100
    assert caplog.records == []


@pytest.mark.parametrize("description", ["x[/b]", "[v2] été", ":cat: {task}"])
def test_a_bar_shows_the_description_as_it_is(monkeypatch, capsys, description):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    assert list(tracked(range(2), description, total=2)) == [0, 1]
    assert description in capsys.readouterr().err


def test_a_bar_of_parts_shows_the_text_as_it_is_on_a_terminal(monkeypatch, capsys):
    for name, value in {"TTY_COMPATIBLE": "1", "FORCE_COLOR": "1", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)
    with progress_bar(4) as show:
        show(1.0, "first")
        show(2.5, "x[/b] [v2]\nété")
    printed = capsys.readouterr().err
    assert r"x[/b] [v2]\nété" in printed
    assert "62%" in printed


def test_elsewhere_the_text_of_a_bar_is_written_once_a_minute(clock, capsys):
    with progress_bar(4) as show:
        for done in range(4):
            show(done, f"{done} of 4")
            clock[0] += 35
    assert capsys.readouterr() == ("", "2 of 4\n")


@pytest.mark.parametrize(
    ("seconds", "text"), [(40.2, "40 s"), (150, "2 min"), (5990, "100 min"), (12600, "3.5 h")]
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text
