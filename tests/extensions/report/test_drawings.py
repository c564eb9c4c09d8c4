"""Figures: what is drawn can be found by name, text is text, the page may recolour it, bytes repeat."""

import re
from xml.etree import ElementTree

import pytest

from extensions.report.synthetic_runs import write_run
from srlab.extensions.report import compare, curves_figure, pareto_figure, read_runs
from srlab.extensions.report.drawing import SERIES, inline_svg, save_figure


@pytest.fixture(scope="module")
def comparison(sweep):
    return compare(read_runs(sweep))


def test_every_finished_configuration_is_a_labelled_point(comparison):
    text = inline_svg(pareto_figure(comparison), prefix="p", title="A < B")
    root = ElementTree.fromstring(text)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids)), "ids of a document are unique"
    numbers = {each.number for each in comparison.finished}
    assert numbers == {1, 2, 4, 5, 6, 7, 8, 9}
    for kind in ("point", "label"):
        assert {f"p-{kind}-{number}" for number in numbers} == {each for each in ids if f"-{kind}-" in each}
    assert "p-front" in ids
    words = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert "7: [16,16,16], 0" in words, "text stays text"
    assert root.get("aria-label") == "A < B"


def test_inline_drawings_have_the_page_s_colours_and_their_own_ids(comparison):
    text = inline_svg(curves_figure(comparison), prefix="c", title="curves")
    assert not any(color in text for color in SERIES)
    assert "var(--series-0)" in text
    assert all(name.startswith("c-") for name in re.findall(r'\bid="([^"]+)"', text))
    referred = re.findall(r"url\(#([^)]+)\)", text) + re.findall(r'href="#([^"]+)"', text)
    assert referred
    assert all(f'id="{name}"' in text for name in referred)


def test_a_file_is_the_same_each_time(comparison, tmp_path):
    for name in ("one.svg", "two.svg"):
        save_figure(pareto_figure(comparison), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    save_figure(pareto_figure(comparison), tmp_path / "three.pdf")
    assert (tmp_path / "three.pdf").read_bytes().startswith(b"%PDF")


def test_points_lie_where_their_numbers_say(comparison):
    """Of matplotlib's own records: the costs of the synthetic sweep, in ms."""
    axes = pareto_figure(comparison).axes[0]
    dots = {
        line.get_gid(): line.get_xydata()[0] for line in axes.lines if str(line.get_gid()).startswith("point")
    }
    assert dots["point-1"][0] == 40
    assert dots["point-7"][0] == 100
    assert dots["point-7"][1] == pytest.approx(sum(run.psnr for run in comparison.configurations[6].runs) / 2)


def test_what_cannot_be_plotted_is_an_error(tmp_path):
    run = write_run(tmp_path / "run", psnr=None)
    (run / "metrics.csv").unlink()
    with pytest.raises(ValueError, match="no finished run has a latency"):
        pareto_figure(read_runs(run))
    with pytest.raises(ValueError, match="no run has a curve"):
        curves_figure(read_runs(run))
    with pytest.raises(
        ValueError, match="against='flops' is not a cost; choose one of latency, multiply_adds"
    ):
        pareto_figure(read_runs(run), against="flops")
