"""The page as text: whole, self-contained, escaped; and what the command writes next to it."""

import json
import re
import shlex
from html.parser import HTMLParser

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from extensions.report.synthetic_runs import write_cell, write_run, write_sweep
from srlab.extensions.console.main import main
from srlab.extensions.report import read_runs

_VOID = {"meta", "link", "img", "br", "input", "hr"}


class Reader(HTMLParser):
    """Elements in order, what every id is, and whether tags match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text.append(data)


@pytest.fixture(scope="module")
def written(sweep, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    assert main(["report", str(sweep), "--out", str(folder), "--title", "<b>A & B</b>"]) == 0
    return folder


@pytest.fixture(scope="module")
def page(written):
    reader = Reader()
    reader.feed((written / "report.html").read_text())
    assert reader.open == [], "every element is closed"
    return reader


def test_everything_is_written(written):
    names = ("pareto-latency", "pareto-multiply_adds", "pareto-params", "curves")
    figures = [f"{name}{suffix}" for name in names for suffix in (".svg", ".pdf", ".png")]
    expected = {"report.html", "table.md", "table.tex", "table.csv", "data.json", *figures}
    assert {path.name for path in written.iterdir()} == expected
    assert (written / "report.html").stat().st_size < 6 << 20


def test_the_page_makes_no_requests(written, page):
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            target = attributes.get(name) or ""
            assert not target or target.startswith(("data:", "#")), target
    policy = next(each["content"] for tag, each in page.elements if "http-equiv" in each)
    assert policy.startswith("default-src 'none'")
    style = re.findall(r"<style>.*?</style>", (written / "report.html").read_text(), re.DOTALL)
    assert not any("url(" in each or "@import" in each for each in style)


def test_sections_stand_in_their_order(page):
    headings = [attributes["id"] for tag, attributes in page.elements if tag == "h2"]
    assert headings == ["warnings-title", "table", "pareto", "curves", "pairs", "patches", "provenance"]


def test_ids_are_unique_and_references_lead_somewhere(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {each["href"][1:] for _, each in page.elements if (each.get("href") or "").startswith("#")}
    labels = {each["aria-labelledby"] for _, each in page.elements if "aria-labelledby" in each}
    assert (targets | labels) <= set(ids)


def test_every_run_is_there_with_its_state_and_its_message_as_text(page):
    text = " ".join(page.text)
    states = re.findall(r"\b(finished|failed|killed|not started)\b", text)
    assert states.count("finished") >= 14
    assert sum(attributes.get("class", "").startswith("run ") for _, attributes in page.elements) == 18
    assert "<script>alert('no')</script> & \"more\"" in text
    assert sum(tag == "script" for tag, _ in page.elements) == 1
    assert "<b>A & B</b>" in text
    assert "4 of 18 runs have no scores: 1 killed, 2 failed, 1 not started" in text
    assert "(best)" in text, "marks are words, too"
    assert "(second best)" in text


def test_runs_can_be_trained_again_by_what_the_page_says(sweep, page):
    """Also of folders whose names Hydra would take for choices: oracle, the shell's and Hydra's parsers."""
    commands = [shlex.split(text) for text in page.text if text.startswith("python train.py ")]
    parsed = [OverridesParser.create().parse_override(word) for _, _, word in commands]
    assert {each.key_or_group for each in parsed} == {"rerun"}
    began = {str(path.parent) for path in sweep.glob("*/cell.json")}
    assert sorted(str(each.value()) for each in parsed) == sorted(began)
    assert len(began) == 17


def test_data_are_strict_json(written):
    def refuse(name):
        raise AssertionError(name)

    data = json.loads((written / "data.json").read_text(), parse_constant=refuse)
    assert len(data["runs"]) == 18
    assert data["baseline"] == 2
    best = data["configurations"][6]["estimates"]["psnr/Set5"]
    runs = [run for run in data["runs"] if run["source"] in data["configurations"][6]["runs"]]
    assert best["mean"] == pytest.approx(sum(run["scores"]["Set5"]["psnr"] for run in runs) / 2)


def test_a_report_is_written_into_its_sweep_and_is_not_read_as_a_run(tmp_path, capsys):
    sweep = write_sweep(tmp_path / "sweep", {"model.n_share": ["0", "1"]})
    for share in ("0", "1"):
        write_cell(sweep / share, swept={"model.n_share": share})
        write_run(sweep / share, psnr=30.0, n_share=share)
    assert main(["report", str(sweep), "--baseline=n_share=1", "--patches", "0"]) == 0
    assert "n_share" in capsys.readouterr().out
    data = json.loads((sweep / "report" / "data.json").read_text())
    assert (len(data["runs"]), data["baseline"]) == (2, 2)
    assert len(read_runs(sweep)) == 2


def test_values_are_escaped_everywhere(tmp_path, capsys, monkeypatch):
    r"""A value that HTML, Markdown, LaTeX and matplotlib (``$\frac$`` is an error to it) would read."""
    values = ["[v2] <b>|a_b|&$\\frac$", "plain"]
    sweep = write_sweep(tmp_path / "sweep (1) <i>", {"model.backend": values})
    for number, value in enumerate(values):
        write_cell(sweep / str(number), swept={"model.backend": value})
        write_run(sweep / str(number), psnr=30.0 + number, backend=f"'{value}'")
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["report", str(sweep), "--patches", "0"]) == 0
    assert "2             plain  " in (printed := capsys.readouterr().out)
    assert values[0] in printed  # a terminal has no markup
    report = sweep / "report"
    assert "\\[v2\\] \\<b\\>\\|a_b\\|\\&\\$\\\\frac\\$" in (report / "table.md").read_text()
    assert "[v2] \\textless{}b\\textgreater{}\\textbar{}a\\_b" in (report / "table.tex").read_text()
    page = (report / "report.html").read_text()
    assert "&lt;b&gt;|a_b|&amp;$" in page
    assert "<b>|" not in page
    assert "python train.py &#39;rerun=" in page


def test_runs_that_all_failed_have_a_page(tmp_path):
    write_cell(tmp_path / "sweep" / "a", swept={"model.n_share": "0"}, state="failed", message="no memory")
    assert main(["report", str(tmp_path / "sweep"), "--out", str(tmp_path / "out")]) == 0
    assert "no memory" in (tmp_path / "out" / "report.html").read_text()


def test_exact_restorations_are_shown_and_stored(tmp_path):
    """Of a pair, each restores one image exactly that the other does not."""
    exact = float("inf")
    for share, scores in ((1, (exact, 30.0)), (3, (30.0, exact))):
        images = [
            {"set_name": "Set5", "name": name, "psnr": psnr} for name, psnr in zip("xy", scores, strict=True)
        ]
        write_run(tmp_path / "runs" / str(share), psnr=exact, n_share=share, images=images)
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    data = json.loads((tmp_path / "out" / "data.json").read_text())
    assert data["runs"][0]["scores"]["Set5"]["psnr"] == "inf"
    assert "(30.00 → inf)" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere is not a folder"),
        (["RUN", "--baseline=9"], "baseline '9' names 0 configurations"),
    ],
)
def test_an_error_of_the_user_is_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "RUN", psnr=30.0)
    assert main(["report", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "RUN" / "report").exists()
