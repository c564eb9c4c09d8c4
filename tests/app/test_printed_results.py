"""What train.py and evaluate.py print at the end, and that their results do not depend on it."""

import io
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from evaluations import costs_of, report_of
from srlab.app import scoring
from srlab.app.keys import parsed_overrides
from srlab.app.run_report import RunReport
from srlab.app.scoring import score_sets
from srlab.tasks.conditions import Conditions
from srlab.tasks.interruption import Ending
from srlab.tasks.report_tables import Evaluation

NAME = "x[/b] [v2] :cat: a|b"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def evaluation() -> Evaluation:
    report = report_of((f"{NAME}\udcff", 25.0, 0.7, True), absent_sets=("absent [b]",))
    costs = costs_of(latency="12640.6 (12637.3 to 12641.5)")
    return Evaluation(report, Conditions(model="elan_light_x4", checkpoint="a|b.pt", costs=costs))


def printed(*tables: Any, width: int) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width)
    for table in tables:
        console.print(table)
    return stream.getvalue()


def run_report(evaluation, **changes: Any) -> RunReport:
    run = {
        "cfg": OmegaConf.create({"paths": {"name": "elan_light_x4"}, "scale": 4}),
        "data_name": "demo",
        **changes,
    }
    return RunReport(
        run=SimpleNamespace(**run),
        trainer=SimpleNamespace(loggers=[]),
        data=None,
        ending=Ending(steps=4, planned=4, cause=None),
        checkpoint="best.ckpt",
        step=4,
        network=None,
        evaluation=evaluation,
        bicubic=evaluation.report,
    )


@pytest.mark.parametrize("width", [60, 80, 200])
def test_images_of_a_run_are_listed_with_whole_figures_and_without_markup(evaluation, width):
    table = run_report(evaluation)._image_table()
    text = printed(table, width=width)
    assert max(map(len, text.splitlines())) <= width
    for figure in ("25.000 -> 25.000", "0.7000 -> 0.7000", "+0.00"):
        assert figure in text
    assert f"{NAME}\\udcff" in printed(table, width=200)


@pytest.mark.parametrize(
    "folder", ["/runs/srlab-main (1)/a=b,c", "/runs/[v2] été/it's", "/runs/plain", '/r/"q" $x']
)
def test_the_command_to_continue_with_says_what_was_meant(evaluation, folder, monkeypatch):
    """Oracle: the shell's words by shlex, values by Hydra's parser."""
    roots = {"data.root": [f"{folder}/one", f"{folder}/two"], "data.validation_root": f"{folder}/validation"}
    plain = {"data": {key.removeprefix("data."): value for key, value in roots.items()}}
    monkeypatch.setattr("sys.argv", ["train.py"])
    report = run_report(evaluation, data_name="folder", plain=plain)
    line = next(line for line in report._closing_lines(Path(folder)) if "evaluate.py" in line)
    program, script, *overrides = shlex.split(line)
    assert (program, script) == ("python", "evaluate.py")
    parsed = parsed_overrides(overrides)
    expected = {"checkpoint": folder, "data": "folder", **roots}
    assert {each.key_or_group: each.value() for each in parsed} == expected


@pytest.mark.parametrize("failing", ["measure_costs", "display_tables"])
def test_scores_are_on_the_disk_before_what_may_fail(evaluation, tmp_path, monkeypatch, failing):
    candidate = SimpleNamespace(scale=4), evaluation.conditions, 4
    hydra = SimpleNamespace(runtime=SimpleNamespace(choices={}))
    monkeypatch.setattr(scoring.HydraConfig, "get", lambda: hydra)
    monkeypatch.setattr(scoring, "_candidates", lambda cfg, scales: [candidate])
    monkeypatch.setattr(scoring, "_scored", lambda cfg, network, conditions, folder: evaluation)
    monkeypatch.setattr(scoring, "_meter_settings", lambda cfg: None)
    monkeypatch.setattr(scoring, "measure_costs", lambda network, settings: costs_of())

    def fail(*_arguments):
        raise RuntimeError("no memory")

    monkeypatch.setattr(scoring, failing, fail)
    paths = {key: str(tmp_path / key) for key in ("data", "cache", "run")}
    cfg = {"matmul_precision": "highest", "seed": 0, "backend": None, "scale": None, "paths": paths}
    cfg["metrics"] = ["psnr", "ssim"]
    with pytest.raises(RuntimeError, match="no memory"):
        score_sets(OmegaConf.create(cfg))
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"evaluation.json", "evaluation.csv", "evaluation.md", "images.csv", "config.yaml"}


PROGRAM = """
from pathlib import Path
from srlab.app.application import application

def main(cfg):
    for line in range(10_000):
        print(line)
    Path("done").touch()

application("evaluate", "__main__:main")()
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
