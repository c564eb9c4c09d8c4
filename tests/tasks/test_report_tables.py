import csv
import io
import json
import math
from dataclasses import replace

import pytest
from rich.console import Console

from protocols import basicsr
from srlab.counts.complexity import ParameterReport
from srlab.counts.operations import UncountedOperation
from srlab.extensions.lab.costs import Costs
from srlab.extensions.lab.latency import LatencyReport
from srlab.extensions.lab.load import CoreLoad
from srlab.extensions.lab.memory import MemoryReport
from srlab.metrics.protocol import GrayRule
from srlab.tasks.conditions import describe_conditions
from srlab.tasks.evaluation import EvaluationReport, ImageRecord, SetMean
from srlab.tasks.report_tables import (
    Evaluation,
    display_tables,
    image_rows,
    summary_rows,
    to_markdown,
    write_evaluations,
)

QUIET = CoreLoad(others=0.0, cores=2, threads=1)
LATENCY = LatencyReport(
    "Some GPU", "2.13.0", "float32", (1, 3, 180, 320), 2, 5, 1, "flushed", QUIET, "sdpa", 12.34, 11.0, 15.0
)
MEMORY = MemoryReport(
    "Some GPU", "2.13.0", "float32", (1, 3, 180, 320), "sdpa", "max_memory_allocated", 512.4, 600.0, None
)

COSTS = Costs(
    parameters=ParameterReport(all=601_000, trainable=600_000, held=590_000),
    multiply_adds=43_200_000_000,
    executed_multiply_adds=45_600_000_000,
    activations=1_230_000_000,
    uncounted=(UncountedOperation("soft-max", "aten._softmax", 12, 300),),
    output_size=(720, 1280),
    latency=LATENCY,
    memory=MEMORY,
)


@pytest.fixture
def evaluations():
    records = (
        ImageRecord("Set14", "bridge", "basicsr", 25.0, 0.7, 512, 512, True, "replicate", "file"),
        ImageRecord("Set14", "flat", "basicsr", math.inf, 1.0, 64, 64, False, "replicate", "made"),
    )
    report = EvaluationReport(
        scale=4,
        device="Some CPU",
        dtype="float32",
        protocols=(basicsr(4),),
        means=(SetMean("Set14", "basicsr", 2, math.inf, 0.85, ("bridge",), "replicate", "file and made"),),
        images=records,
        skipped_protocols=("published_y",),
        absent_sets=("Urban100",),
    )
    measured = describe_conditions(
        model="elan_light",
        checkpoint="model_x4.pt",
        costs=COSTS,
    )
    bare = describe_conditions(model="bicubic", checkpoint="none", costs=None)
    return [Evaluation(report, measured), Evaluation(report, bare)]


def test_rows_hold_unrounded_numbers_and_costs(evaluations):
    measured, bare = summary_rows(evaluations)
    assert (measured["model"], measured["scale"], measured["set"], measured["protocol"]) == (
        "elan_light",
        4,
        "Set14",
        "basicsr",
    )
    assert (measured["parameters"], measured["multiply_adds"]) == (601_000, 43_200_000_000)
    assert [measured[f"latency_{key}_ms"] for key in ("median", "p10", "p90")] == [12.34, 11.0, 15.0]
    assert measured["peak_memory_mib"] == 512.4
    assert bare["parameters"] is bare["latency_median_ms"] is bare["peak_memory_mib"] is None
    assert list(measured) == list(bare)


def test_a_latency_beside_other_programs_is_marked_and_explained(evaluations):
    measured, bare = evaluations
    load = CoreLoad(others=1.6, cores=2, threads=2)
    costs = replace(COSTS, latency=replace(LATENCY, load=load))
    disturbed = replace(measured, conditions=replace(measured.conditions, costs=costs))
    assert [row["latency_busy"] for row in summary_rows([measured, disturbed, bare])] == [False, True, None]
    shown = {}
    for name, each in (("measured", measured), ("disturbed", disturbed)):
        console = Console(width=120, file=io.StringIO())
        console.print(display_tables([each, bare])[1])
        shown[name] = console.file.getvalue()
    assert "12.3* (11.0 to 15.0)" in shown["disturbed"]
    assert "* other programs used 1.6 of 2 cores beside 2 threads: measure again" in shown["disturbed"]
    assert "*" not in shown["measured"]
    assert "12.3\\* (11.0 to 15.0)" in to_markdown([disturbed])


def test_files_hold_the_same_rows(evaluations, tmp_path):
    paths = write_evaluations(evaluations, tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(path.name for path in paths)
    data = json.loads((tmp_path / "new" / "evaluation.json").read_text())
    rows = summary_rows(evaluations)
    assert [row["psnr"] for row in data["rows"]] == ["inf", "inf"]
    assert [row["ssim"] for row in data["rows"]] == [row["ssim"] for row in rows]
    with (tmp_path / "new" / "evaluation.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["latency_median_ms"] for row in table] == ["12.34", ""]
    with (tmp_path / "new" / "images.csv").open() as file:
        images = list(csv.DictReader(file))
    assert len(images) == len(image_rows(evaluations)) == 4
    assert (images[0]["name"], images[0]["gray"], images[0]["lr_source"]) == ("bridge", "True", "file")
    assert (tmp_path / "new" / "evaluation.md").read_text() == to_markdown(evaluations)


def test_json_carries_protocol_fields_and_conditions(evaluations, tmp_path):
    write_evaluations(evaluations, tmp_path)
    first = json.loads((tmp_path / "evaluation.json").read_text())["evaluations"][0]
    assert first["report"]["protocols"] == [
        {
            "name": "basicsr",
            "color": "y",
            "quantize": True,
            "border": 4,
            "arithmetic": "double",
            "gray": "replicate",
            "padding": "model",
            "bicubic_only": False,
        }
    ]
    assert first["report"]["absent_sets"] == ["Urban100"]
    assert first["conditions"]["checkpoint"] == "model_x4.pt"
    assert first["conditions"]["costs"]["latency"]["input_shape"] == [1, 3, 180, 320]
    assert {"date", "commit", "torch_version", "srlab_version", "python_version"} <= first[
        "conditions"
    ].keys()


def test_markdown_is_a_table_with_its_conditions(evaluations):
    lines = to_markdown(evaluations).splitlines()
    assert lines[0].startswith("| model | scale | set | protocol | images | PSNR | SSIM | params (K) |")
    assert lines[2] == (
        "| elan_light | x4 | Set14 | basicsr | 2 | inf | 0.8500 | 601.0 | 43.20 | 45.60 | 1230.0 "
        "| 12.3 (11.0 to 15.0) | 512 |"
    )
    assert lines[3] == "| bicubic | x4 | Set14 | basicsr | 2 | inf | 0.8500 | – | – | – | – | – | – |"
    assert len({line.count("|") for line in lines[:4]}) == 1
    text = "\n".join(lines)
    assert (
        "protocol name=basicsr, color=y, quantize=True, border=4, arithmetic=double, gray=replicate" in text
    )
    assert "protocol published_y: skipped" in text
    assert "set Urban100: absent" in text
    assert text.count("one restored image of 1280x720") == 1
    assert "not counted: soft-max: aten._softmax, 12 calls, 3.00e+02 elements" in text
    assert "LR file and made; gray files, counted as three equal channels: bridge" in text


def test_every_form_says_what_gray_images_count_as(evaluations, tmp_path):
    report = evaluations[0].report
    own = replace(
        evaluations[0],
        report=replace(
            report,
            protocols=(basicsr(4, gray=GrayRule.own),),
            means=tuple(replace(mean, gray_rule="own") for mean in report.means),
            images=tuple(replace(record, gray_rule="own") for record in report.images),
        ),
    )
    write_evaluations([own], tmp_path)
    for name in ("evaluation.csv", "images.csv"):
        with (tmp_path / name).open() as file:
            assert {row["gray_rule"] for row in csv.DictReader(file)} == {"own"}, name
    data = json.loads((tmp_path / "evaluation.json").read_text())
    assert {row["gray_rule"] for row in data["rows"]} == {"own"}
    assert data["evaluations"][0]["report"]["protocols"][0]["gray"] == "own"
    text = (tmp_path / "evaluation.md").read_text()
    assert "gray=own" in text
    assert "gray files, scored on their own values: bridge" in text


def test_terminal_table_shows_every_row(evaluations):
    scores, costs = display_tables(evaluations)
    assert scores.row_count == 2
    assert [str(cell) for cell in scores.columns[5].cells] == ["inf", "inf"]
    assert costs.row_count == len({evaluation.conditions.model for evaluation in evaluations})


@pytest.fixture
def published():
    mean = SetMean("Set5", "basicsr", 5, 32.40, 0.897, (), "replicate", "file")
    report = EvaluationReport(4, "Some CPU", "float32", (basicsr(4),), (mean,), (), (), ())
    known = describe_conditions(
        model="mine", checkpoint="a.pt", preset="swinir_light", training=None, costs=None
    )
    random = describe_conditions(model="mine", checkpoint="random weights, seed 0", costs=None)
    return [Evaluation(report, known), Evaluation(report, random)]


def test_the_difference_from_the_paper_is_in_every_form(published, tmp_path):
    known, random = summary_rows(published)
    assert known["psnr_difference"] == pytest.approx(32.40 - 32.44)
    assert known["ssim_difference"] == pytest.approx(0.897 - 0.8976)
    assert random["psnr_difference"] is None
    write_evaluations(published, tmp_path)
    data = json.loads((tmp_path / "evaluation.json").read_text())
    assert data["evaluations"][0]["differences"][0]["reference"]["psnr"] == 32.44
    assert data["evaluations"][1]["differences"] == []
    with (tmp_path / "evaluation.csv").open() as file:
        assert [row["published_psnr"] for row in csv.DictReader(file)] == ["32.44", ""]
    text = to_markdown(published)
    assert (
        "- Set5, basicsr: -0.040 dB and SSIM -0.0006 from the published 32.44 0.8976 (trained on DIV2K;"
        in text
    )
    assert text.count("from the published") == 1


def test_the_terminal_has_a_third_table_only_if_something_was_published(published):
    assert len(display_tables(published)) == 3
    assert len(display_tables(published[1:])) == 2
