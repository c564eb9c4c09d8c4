import pytest

from srlab.terminal.names import escape_markdown, file_safe, one_line


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


def test_file_names_keep_letters_digits_and_a_few_marks():
    assert file_safe("Set5/été [v2]: a-b_c+d.png") == "Set5_été__v2___a-b_c+d.png"
