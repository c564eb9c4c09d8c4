"""What train.py really leaves is what a report reads."""

import json

import pytest

from srlab.checkpoints import read_checkpoint
from srlab.extensions.console.main import main
from srlab.extensions.report import compare, read_runs
from tiny_runs import TINY, train, write_photos

pytestmark = pytest.mark.slow


def test_two_trainings_become_a_report(tmp_path):
    photos = write_photos(tmp_path / "photos")
    for share in (0, 1):
        train(
            *TINY,
            *photos,
            f"model.n_share={share}",
            "logger=csv",
            f"hydra.run.dir={tmp_path / f'share{share}'}",
        )
    folders = [tmp_path / "share0", tmp_path / "share1"]
    comparison = compare(read_runs(folders))
    assert [parameter.key for parameter in comparison.parameters] == ["model.n_share"]
    assert [each for each in comparison.warnings if "uncommitted changes" not in each] == []
    for run, folder in zip(comparison.runs, folders, strict=True):
        summary = json.loads((folder / "summary.json").read_text())
        assert run.psnr == pytest.approx(summary["val/psnr"])
        assert run.costs.latency_ms == summary["conditions"]["costs"]["latency"]["median_ms"]
        assert run.curves["val/psnr"][-1][0] == 4
    words = ["--out", str(tmp_path / "out"), "--patches", "2", "--measure", "--rounds", "2", "--threads", "1"]
    assert main(["report", *map(str, folders), *words]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('class="patch"') == 2
    assert "validation/0" in page
    record = json.loads((tmp_path / "out" / "latency.json").read_text())
    (size,) = record["sizes"]
    assert size["output_size"] == [32, 32], "what the runs measured"
    assert [each["rounds"] for each in size["subjects"]] == [2, 2]
    # the networks measured are those that the runs trained
    described = [read_checkpoint(folder).description["model"] for folder in folders]
    assert {label.partition("/")[0] for label in record["networks"]} == {"n_share=0", "n_share=1"}
    for arguments in described:
        expected = {name: value for name, value in arguments.items() if name != "_convert_"}
        assert expected in list(record["networks"].values())
