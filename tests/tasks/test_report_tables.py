import csv
import io
import json
import math
from dataclasses import replace

import pytest
from rich.console import Console

from evaluations import costs_of, report_of
from protocols import basicsr
from srlab.extension_points import load_extensions
from srlab.metrics.protocol import GrayRule
from srlab.tasks.columns import COMPARERS, Comparer, Comparison
from srlab.tasks.conditions import Conditions
from srlab.tasks.evaluation import SetMean
from srlab.tasks.report_tables import (
    Evaluation,
    display_tables,
    image_rows,
    summary_rows,
    to_markdown,
    write_evaluations,
)
from srlab.tasks.restoration import Restoration
from srlab.terminal.tables import PlainTable

NAME = "x[/b] [v2] :cat: a|b"


def printed(tables, width):
    console = Console(width=width, file=io.StringIO())
    for table in tables:
        console.print(table)
    return console.file.getvalue()


def read_csv(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def evaluations():
    report = report_of(
        ("bridge", 25.0, 0.7, True), ("flat", math.inf, 1.0, False),
        skipped_protocols=("published_y",), absent_sets=("Urban100",),
    )  # fmt: skip
    measured = Conditions(model="elan_light", checkpoint="model_x4.pt", costs=costs_of())
    return [
        Evaluation(report, measured),
        Evaluation(report, Conditions(model="bicubic", checkpoint="none")),
    ]


@pytest.mark.usefixtures("compared")
def test_files_hold_the_same_unrounded_rows(evaluations, tmp_path):
    paths = write_evaluations(evaluations, tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(path.name for path in paths)
    data = json.loads((tmp_path / "new" / "evaluation.json").read_text())
    measured, bare = summary_rows(evaluations)
    assert [row["psnr"] for row in data["rows"]] == ["inf", "inf"]
    assert [row["ssim"] for row in data["rows"]] == [measured["ssim"], bare["ssim"]] == [0.85, 0.85]
    table = read_csv(tmp_path / "new" / "evaluation.csv")
    assert [row["latency_median_ms"] for row in table] == ["12.34", ""]
    assert [row["multiply_adds"] for row in table] == ["43200000000", ""]
    images = read_csv(tmp_path / "new" / "images.csv")
    assert len(images) == len(image_rows(evaluations)) == 4
    assert (images[0]["name"], images[0]["psnr"], images[0]["lr_source"]) == ("bridge", "25.0", "file")
    assert (tmp_path / "new" / "evaluation.md").read_text() == to_markdown(evaluations)
    first = data["evaluations"][0]
    assert first["report"]["protocols"][0] == {
        "name": "basicsr", "color": "y", "quantize": True, "border": 4, "arithmetic": "double",
        "gray": "replicate", "padding": "model", "bicubic_only": False,
    }  # fmt: skip
    assert first["report"]["means"][0]["scores"] == {"psnr": "inf", "ssim": 0.85}
    assert first["report"]["absent_sets"] == ["Urban100"]
    assert first["conditions"]["checkpoint"] == "model_x4.pt"
    assert first["conditions"]["costs"]["latency"]["input_shape"] == [1, 3, 180, 320]
    assert first["conditions"]["costs"]["output_size"] == [720, 1280]
    assert {"date", "commit", "torch_version", "srlab_version"} <= first["conditions"].keys()


def test_markdown_is_a_table_with_its_conditions(evaluations):
    lines = to_markdown(evaluations).splitlines()
    head = "| model | scale | set | protocol | images | PSNR (dB) | SSIM | params (K) | trainable (K) |"
    assert lines[0].startswith(head)
    start = "x4 | Set14 | basicsr | 2 | inf | 0.8500"
    assert lines[2] == f"| elan_light | {start} | 601.0 | 600.0 | 1243.20 | 12.3 (11.0 to 15.0) |"
    assert lines[3] == f"| bicubic | {start} | – | – | – | – |"
    text = "\n".join(lines)
    for line in (
        "protocol name=basicsr, color=y, quantize=True, border=4, arithmetic=double, gray=replicate",
        "protocol published_y: skipped",
        "set Urban100: absent",
        "latency of one restored image: median_ms=12.34",
        "not counted: soft-max",
        "LR file and made; gray files, counted as three equal channels: bridge",
    ):
        assert line in text


def test_every_form_says_how_gray_images_count(tmp_path):
    report = report_of(("bridge", 25.0, 0.7, True), gray_rule="own", protocol=basicsr(4, gray=GrayRule.own))
    write_evaluations([Evaluation(report, Conditions(model="elan", checkpoint="a.pt"))], tmp_path)
    for name in ("evaluation.csv", "images.csv"):
        assert {row["gray_rule"] for row in read_csv(tmp_path / name)} == {"own"}, name
    data = json.loads((tmp_path / "evaluation.json").read_text())
    assert {row["gray_rule"] for row in data["rows"]} == {"own"}
    assert data["evaluations"][0]["report"]["protocols"][0]["gray"] == "own"
    text = (tmp_path / "evaluation.md").read_text()
    assert "gray=own" in text
    assert "gray files, scored on their own values: bridge" in text


def test_a_latency_next_to_other_programs_is_explained(evaluations):
    remark = "* other programs used 1.6 of 2 cores"
    costs = costs_of(latency="12.3* (11.0 to 15.0)", remark=remark)
    disturbed = replace(evaluations[0], conditions=replace(evaluations[0].conditions, costs=costs))
    text = printed(display_tables([disturbed, evaluations[1]]), 120)
    assert remark in text
    assert "12.3* (11.0 to 15.0)" in text
    assert "*" not in printed(display_tables(evaluations), 120)
    assert "12.3\\* (11.0 to 15.0)" in to_markdown([disturbed])


@pytest.mark.parametrize("width", [60, 80, 200])
def test_terminal_tables_break_no_figure_and_read_no_markup(width):
    mean = SetMean(f"été {NAME}", "basicsr", 1, {"psnr": 25.0, "ssim": 0.7}, (), "replicate", "file")
    report = report_of((NAME, 25.0, 0.7, True), means=(mean,))
    conditions = Conditions(
        model=f"net {NAME}", checkpoint="a|b.pt", costs=costs_of(latency="12640.6 (12637.3 to 12641.5)")
    )
    evaluation = Evaluation(report, conditions)
    bare = Evaluation(report, Conditions(model="bicubic", checkpoint="none"))
    text = printed(display_tables([evaluation, bare]), width)
    assert max(map(len, text.splitlines())) <= width
    for figure in ("12640.6 (12637.3 to 12641.5)", "601.0", "1243.20", "25.000", "bicubic"):
        assert figure in text
    assert NAME in " ".join(printed(display_tables([evaluation]), 400).split())
    rows = [line for line in to_markdown([evaluation]).splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1


def test_names_that_are_no_unicode_are_written(tmp_path):
    report = report_of((f"{NAME}\udcff", 25.0, 0.7, False))
    write_evaluations([Evaluation(report, Conditions(model="net", checkpoint="a"))], tmp_path)
    assert f"{NAME}\\udcff" in (tmp_path / "images.csv").read_text(encoding="utf-8")


@pytest.fixture
def compared(monkeypatch):
    """An extension that knows other scores of elan_light alone."""

    def compare(report, preset, training):
        if preset is None:
            fields = {(mean.set_name, mean.protocol): {"their_psnr": None} for mean in report.means}
            return Comparison(fields=fields)
        return Comparison(
            records=[{"preset": preset, "training": training}],
            fields={("Set14", "basicsr"): {"their_psnr": 24.0}},
            lines=["better than theirs"],
            found=[1.0],
        )

    def table(comparisons):
        found = [{"gain on theirs": each} for comparison in comparisons for each in comparison.found]
        return PlainTable(found, text=())

    load_extensions()
    monkeypatch.setattr(COMPARERS, "_entries", {"theirs": Comparer("theirs", compare, table)})


@pytest.mark.usefixtures("compared")
def test_a_comparison_is_in_every_form(evaluations, tmp_path):
    known = Conditions(model="mine", checkpoint="a.pt", preset="elan_light", training="DIV2K")
    pair = [replace(evaluations[0], conditions=known), evaluations[1]]
    assert [row["their_psnr"] for row in summary_rows(pair)] == [24.0, None]
    write_evaluations(pair, tmp_path)
    data = json.loads((tmp_path / "evaluation.json").read_text())
    records = [each["differences"] for each in data["evaluations"]]
    assert records == [[{"preset": "elan_light", "training": "DIV2K"}], []]
    assert to_markdown(pair).count("- better than theirs") == 1
    assert "gain on theirs" in printed(display_tables(pair), 80)
    assert "theirs" not in printed(display_tables(pair[1:]), 80)


@pytest.mark.usefixtures("compared")
def test_a_self_ensemble_is_not_compared_with_single_passes_and_says_so(evaluations):
    report = replace(evaluations[0].report, restoration=Restoration(ensemble=True))
    ensemble = replace(evaluations[0], report=report)
    assert ensemble.comparisons == ()
    assert evaluations[0].comparisons != ()
    assert "self-ensemble (+): mean of eight flips and turns" in to_markdown([ensemble])
    assert "self-ensemble" not in to_markdown(evaluations)


@pytest.mark.parametrize(
    ("exact", "halo"), [(True, "the whole receptive reach"), (False, "the default halo")]
)
def test_tiled_images_are_a_condition_of_the_scores(evaluations, exact, halo):
    report = evaluations[0].report
    images = (replace(report.images[0], tile=64), report.images[1])
    report = replace(report, images=images, restoration=Restoration(tile="auto", exact=exact))
    text = to_markdown([replace(evaluations[0], report=report)])
    assert f"- tiles of 64 LR pixels, overlapping by {halo}" in text
    assert "1 of 2 scores, bridge first" in text
