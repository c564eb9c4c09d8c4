import pytest

from srlab.terminal.names import escape_markdown, one_line


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("été [v2] 日本 :cat:", "été [v2] 日本 :cat:"),
        ("a\nb", "a\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\udcff", "\\udcff"),
    ],
)
def test_control_characters_are_shown_as_escapes(name, shown):
    assert one_line(name) == shown


def test_markdown_gets_no_markup_from_a_name():
    assert escape_markdown("a|b_c*d&e<f>") == "a\\|b_c\\*d\\&e\\<f\\>"
    assert escape_markdown("__init__ _a_") == "\\_\\_init\\_\\_ \\_a\\_"
    assert "\n" not in escape_markdown("a\nb")
