"""What train.py and evaluate.py print at the end, and that their results do not depend on it."""

import io
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from protocols import basicsr
from srlab.app import scoring
from srlab.app.keys import parsed_overrides
from srlab.app.run_report import RunReport
from srlab.app.scoring import Candidate, score_sets
from srlab.counts.complexity import ParameterReport
from srlab.extensions.lab.costs import Costs
from srlab.extensions.lab.latency import LatencyReport
from srlab.extensions.lab.load import CoreLoad
from srlab.extensions.lab.memory import MemoryReport
from srlab.tasks.conditions import describe_conditions
from srlab.tasks.ending import Ending
from srlab.tasks.evaluation import EvaluationReport, ImageRecord, SetMean
from srlab.tasks.report_tables import Evaluation, display_tables, to_markdown, write_evaluations

SPREAD = "1,640.6 (1,637.3 to 1,641.5)"
NAME = "x[/b] [v2] :cat: a|b"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def costs() -> Costs:
    latency = LatencyReport(
        device="CPU [b]",
        torch_version="2.13.0",
        dtype="float32",
        input_shape=(1, 3, 180, 320),
        warmup=2,
        repeats=5,
        threads=1,
        subnormals="flushed",
        load=CoreLoad(others=0.0, cores=2, threads=1),
        backend="sdpa",
        median_ms=12640.6,
        p10_ms=12637.3,
        p90_ms=12641.5,
    )
    memory = MemoryReport("CPU", "2.13.0", "float32", (1, 3, 180, 320), "sdpa", "peak", 1512.4, None, None)
    return Costs(
        parameters=ParameterReport(all=15_601_000, trainable=15_600_000, held=15_590_000),
        multiply_adds=1_243_200_000_000,
        executed_multiply_adds=1_245_600_000_000,
        activations=1_230_000_000,
        uncounted=(),
        output_size=(720, 1280),
        latency=latency,
        memory=memory,
    )


@pytest.fixture
def scores() -> EvaluationReport:
    return EvaluationReport(
        scale=4,
        device="CPU",
        dtype="float32",
        protocols=(basicsr(4),),
        means=(SetMean(f"été {NAME}", "basicsr", 1, 25.0, 0.7, (NAME,), "replicate", "file"),),
        images=(
            ImageRecord(
                f"été {NAME}", f"{NAME}\udcff", "basicsr", 25.0, 0.7, 64, 64, True, "replicate", "file"
            ),
        ),
        skipped_protocols=(),
        absent_sets=("absent [b]",),
    )


@pytest.fixture
def evaluation(scores, costs) -> Evaluation:
    return Evaluation(scores, describe_conditions(model=f"net {NAME}", checkpoint="a|b.pt", costs=costs))


def printed(*tables: Any, width: int) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width)
    for table in tables:
        console.print(table)
    return stream.getvalue()


def run_report(scores, costs, **cfg: Any) -> RunReport:
    settings = {
        "paths": {"name": "elan_light_x4"},
        "scale": 4,
        "data": {"_target_": "srlab.data.datasets.demo"},
    }
    return RunReport(
        cfg=OmegaConf.create({**settings, **cfg}),
        trainer=SimpleNamespace(loggers=[]),
        step=4,
        network=None,
        protocol=basicsr(4),
        data=None,
        scores=scores,
        bicubic=scores,
        costs=costs,
        preset=None,
        published=(),
        kept="best",
        ending=Ending(steps=4, planned=4, cause=None),
    )


@pytest.mark.parametrize("width", [60, 80, 200])
def test_tables_of_an_evaluation_break_no_figure_and_read_no_markup(evaluation, width):
    text = printed(*display_tables([evaluation]), width=width)
    assert max(map(len, text.splitlines())) <= width
    for figure in ("12640.6 (12637.3 to 12641.5)", "15601.0", "1243.20", "1245.60", "1512", "25.000"):
        assert figure in text
    assert NAME in " ".join(printed(*display_tables([evaluation]), width=400).split())


@pytest.mark.parametrize("width", [60, 80, 200])
def test_tables_of_a_run_break_no_figure_and_read_no_markup(scores, costs, width):
    report = run_report(scores, costs)
    text = printed(report._image_table(), report._cost_table(), width=width)
    assert max(map(len, text.splitlines())) <= width
    for figure in ("12640.6 (12637.3 to 12641.5)", "15,601,000", "15,600,000", "1243.20", "1512", "+0.00"):
        assert figure in text
    assert f"{NAME}\\udcff" in printed(report._image_table(), width=200)


def test_files_take_names_that_are_markup_or_no_unicode(evaluation, tmp_path):
    write_evaluations([evaluation], tmp_path)
    assert "x[/b] [v2] :cat: a|b\\udcff" in (tmp_path / "images.csv").read_text(encoding="utf-8")
    rows = [line for line in to_markdown([evaluation]).splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1


@pytest.mark.parametrize(
    "folder", ["/runs/srlab-main (1)/a=b,c", "/runs/[v2] été/it's", "/runs/plain", '/r/"q" $x']
)
def test_the_command_to_go_on_with_says_what_was_meant(scores, costs, folder):
    """Oracle: the shell's words by shlex, values by Hydra's parser."""
    data = {
        "_target_": "srlab.data.datasets.folder", "root": [f"{folder}/one", f"{folder}/two"],
        "validation_root": f"{folder}/validation",
    }  # fmt: skip
    words = run_report(scores, costs, data=data)._closing_words(Path(folder)).splitlines()
    line = next(line for line in words if "evaluate.py" in line)
    program, script, *overrides = shlex.split(line)
    assert (program, script) == ("python", "evaluate.py")
    parsed = parsed_overrides(overrides)
    assert {each.key_or_group: each.value() for each in parsed} == {
        "checkpoint": folder, "data": "folder", "data.root": data["root"],
        "data.validation_root": data["validation_root"],
    }  # fmt: skip


@pytest.mark.parametrize("failing", ["_with_costs", "display_tables"])
def test_scores_are_on_the_disk_before_what_may_fail(evaluation, tmp_path, monkeypatch, failing):
    candidate = Candidate(SimpleNamespace(scale=4), "net", "none")
    monkeypatch.setattr(scoring, "_candidates", lambda cfg: [candidate])
    monkeypatch.setattr(scoring, "evaluate_network", lambda cfg, candidate, folder: evaluation)
    monkeypatch.setattr(scoring, "_with_costs", lambda cfg, network, scored: scored)

    def fail(*_arguments):
        raise RuntimeError("no memory")

    monkeypatch.setattr(scoring, failing, fail)
    paths = {key: str(tmp_path / key) for key in ("data", "cache", "run")}
    cfg = {"matmul_precision": "highest", "seed": 0, "backend": None, "scale": None, "paths": paths}
    with pytest.raises(RuntimeError, match="no memory"):
        score_sets(OmegaConf.create(cfg))
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"evaluation.json", "evaluation.csv", "evaluation.md", "images.csv", "config.yaml"}


PROGRAM = """
from pathlib import Path
from srlab.app.application import application

@application("evaluate")
def main(cfg):
    for line in range(10_000):
        print(line)
    Path("done").touch()

main()
"""


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (PROGRAM, ["hydra.run.dir=run"]),
        ("from srlab.extensions.console.main import main; raise SystemExit(main())", ["--help"]),
    ],
    ids=["application", "srlab"],
)
def test_programs_end_quietly_where_their_reader_has_gone(tmp_path, program, words):
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    process.stdout.close()
    assert (process.stderr.read(), process.wait(timeout=60)) == ("", 141)
    assert (tmp_path / "done").exists() or words == ["--help"]


def test_a_table_with_unlike_figures_keeps_its_rows(evaluation):
    other = replace(
        evaluation, conditions=describe_conditions(model="bicubic", checkpoint="none", costs=None)
    )
    for width in (60, 200):
        assert "bicubic" in printed(*display_tables([evaluation, other]), width=width)


def test_a_record_of_the_lab_is_on_the_disk_before_it_is_printed(tmp_path, monkeypatch):
    from srlab.extensions.console import profile

    def unprintable(record):
        raise RuntimeError("cannot be printed")

    record = SimpleNamespace(as_json=lambda: {"sizes": []}, complete=True)
    monkeypatch.setattr(profile, "_measured", lambda *_: record)
    monkeypatch.setattr(profile, "_show", unprintable)
    with pytest.raises(RuntimeError, match="cannot be printed"):
        profile.run(SimpleNamespace(table=None, roofline=False), {"record": tmp_path / "a" / "record.json"})
    assert (tmp_path / "a" / "record.json").read_text() == '{\n "sizes": []\n}\n'


def test_a_log_of_a_sweep_says_how_many_cells_are_in_which_state(tmp_path):
    from srlab.extensions.sweep import front
    from srlab.extensions.sweep.records import Cell

    sweep = SimpleNamespace(folder=tmp_path)
    assert front._standing(sweep) == "cells: none has begun"
    for number, state in enumerate(("finished", "finished", "over_latency_limit")):
        (tmp_path / str(number)).mkdir()
        Cell(name=str(number), overrides=[f"seed={number}"], swept={}, state=state).write(tmp_path)
    assert front._standing(sweep) == "cells: 2 finished, 1 over latency limit"
