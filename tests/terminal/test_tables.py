"""Tables as a terminal shows them: every figure on one line, every name as it is."""

import io

import pytest
from rich.console import Console

from srlab.terminal.tables import PlainTable, plain_console

HEADINGS = ("model", "params (K)", "latency ms (p10 to p90)", "peak memory (MiB)")
FIGURES = ("12,601.0", "640.6 (637.3 to 641.5)", "1,512")


def printed(table: PlainTable, width: int, console: type = Console) -> str:
    stream = io.StringIO()
    console(file=stream, width=width).print(table)
    return stream.getvalue()


def table_of(name: str, **options) -> PlainTable:
    return PlainTable([dict(zip(HEADINGS, (name, *FIGURES), strict=True))], text=("model",), **options)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
def test_no_figure_is_broken_and_no_name_is_cut(width):
    text = printed(table_of("Q" * 40), width)
    for figure in FIGURES if width > 22 else FIGURES[::2]:
        assert figure in text
    assert max(map(len, text.splitlines())) <= width
    assert text.count("Q") == 40


@pytest.mark.parametrize("width", [40, 80, 200])
def test_names_are_no_markup_whoever_prints_the_table(width):
    """Also with a console that reads markup and emoji codes, as a notebook's."""
    text = printed(table_of("x[/b]", title="[v2] :cat:", caption="c[/b]"), width)
    assert "x[/b]" in text
    assert "[v2] :cat:" in text
    assert "c[/b]" in text


def test_a_line_break_in_a_name_is_shown():
    assert "a\\nb" in printed(table_of("a\nb"), 200)


def test_wide_terminals_keep_headings_on_one_line():
    assert all(heading in printed(table_of("x"), 200) for heading in HEADINGS)


def test_the_console_prints_text_as_it_is(capsys):
    plain_console().print("[v2] été :cat: x[/b]")
    assert capsys.readouterr().out == "[v2] été :cat: x[/b]\n"


@pytest.mark.parametrize(("columns", "width"), [(None, 120), ("80", 80)])
def test_without_a_terminal_columns_decide(monkeypatch, columns, width):
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", columns)
    assert plain_console(unbounded_width=120).width == width
