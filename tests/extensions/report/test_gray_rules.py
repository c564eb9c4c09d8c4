"""Scores that count gray images differently are never in one table, and those left out say so."""

import json

import pytest

from extensions.report.synthetic_runs import write_run
from srlab.extensions.report import ablation_table, compare, read_runs

NEW = {"name": "basicsr", "color": "y", "border": 2, "gray": "replicate"}
OWN = {**NEW, "gray": "own"}
OLD = {"name": "basicsr", "color": "y", "border": 2}


def recorded(folder, *, protocol, gray_images, psnr=30.0, **config):
    """A run whose summary lists its gray images; None for a record that does not."""
    run = write_run(folder, psnr=psnr, protocol=protocol, **config)
    summary = json.loads((run / "summary.json").read_text())
    for mean in summary["scores"] if gray_images is not None else ():
        mean["gray_images"] = gray_images
    (run / "summary.json").write_text(json.dumps(summary))
    return read_runs(run)[0]


@pytest.mark.parametrize(
    ("protocol", "gray_images", "rule"),
    [
        (NEW, ["bridge"], "replicate"), (OWN, ["bridge"], "own"), (OLD, ["bridge"], "own"),
        (NEW, [], None), (OWN, [], None), (OLD, [], None),
        (OLD, None, "own"), ({**OLD, "color": "rgb"}, ["bridge"], "replicate"),
    ],
)  # fmt: skip
def test_the_rule_of_a_record_is_what_it_says_or_what_held_before_it_could(
    tmp_path, protocol, gray_images, rule
):
    assert recorded(tmp_path / "run", protocol=protocol, gray_images=gray_images).gray_rule == rule


@pytest.mark.parametrize("other", [OLD, OWN])
@pytest.mark.parametrize("gray_images", [["bridge"], None])
def test_scores_under_the_other_rule_are_left_out_and_the_page_says_so(tmp_path, other, gray_images):
    new = recorded(tmp_path / "new", protocol=NEW, gray_images=["bridge"], psnr=29.0)
    old = recorded(tmp_path / "old", protocol=other, gray_images=gray_images, psnr=35.0, n_share=3)
    comparison = compare([old, new])
    assert [each.states for each in comparison.configurations] == ["1", "0 of 1 (1 gray=own)"]
    assert "scores of 1 of 2 runs are left out: they count gray images as their own luma" in str(
        comparison.warnings
    )
    table = ablation_table(comparison)
    assert "under basicsr, gray images as three equal channels," in table.caption
    scores = [column.key for column in table.columns].index("psnr/Set5")
    assert [row.estimates[scores] and row.estimates[scores].mean for row in table.rows] == [29.0, None]
    left_out = comparison.configurations[1].runs[0]
    assert not any(name.startswith("val/") for name in left_out.curves)
    assert "train/loss" in left_out.curves


def test_where_no_image_is_gray_the_rules_are_one(tmp_path):
    """Runs of before and after are rows, or one row, as any."""
    new = recorded(tmp_path / "new", protocol=NEW, gray_images=[], seed=1)
    (tmp_path / "new" / "config.yaml").write_text(
        (tmp_path / "new" / "config.yaml")
        .read_text()
        .replace("name: basicsr", "name: basicsr\n    gray: own")
    )
    new = read_runs(tmp_path / "new")[0]
    old = recorded(tmp_path / "old", protocol=OLD, gray_images=[], seed=2)
    comparison = compare([new, old])
    assert comparison.warnings == ()
    assert [each.states for each in comparison.configurations] == ["2"]
    assert "gray" not in ablation_table(comparison).caption


def test_one_rule_alone_is_compared_whichever_it_is(tmp_path):
    runs = [
        recorded(tmp_path / str(share), protocol=OLD, gray_images=["a"], n_share=share) for share in (1, 3)
    ]
    comparison = compare(runs)
    assert comparison.warnings == ()
    assert len(comparison.finished) == 2
    assert "under basicsr, gray images as their own luma," in ablation_table(comparison).caption
