"""What train.py really leaves is what a report reads."""

import json

import pytest

from srlab.cli.main import main
from srlab.report import compare, read_runs
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
    assert [each for each in comparison.warnings if "no commit holds" not in each] == []
    for run, folder in zip(comparison.runs, folders, strict=True):
        summary = json.loads((folder / "summary.json").read_text())
        assert run.psnr == pytest.approx(summary["val/psnr"])
        assert run.costs.latency_ms == summary["conditions"]["costs"]["latency"]["median_ms"]
        assert run.curves["val/psnr"][-1][0] == 4
    assert main(["report", *map(str, folders), "--out", str(tmp_path / "out"), "patches=2"]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('class="patch"') == 2
    assert "validation/0" in page
