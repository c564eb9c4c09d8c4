"""The CSV curve across stops and resumes."""

import csv
import shutil

import pytest

from srlab.tasks.curve_logger import CurveLogger


def read(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_of_one_step_share_a_row(tmp_path):
    logger = CurveLogger(tmp_path)
    logger.log_metrics({"train/loss": 0.5}, step=10)
    logger.log_metrics({"val/psnr": 30.0}, step=10)
    logger.finalize("success")
    assert read(tmp_path) == [{"step": "11", "train/loss": "0.5", "val/psnr": "30.0"}]


def test_a_second_logger_goes_on_with_the_file_and_replaces_what_it_repeats(tmp_path):
    first = CurveLogger(tmp_path)
    for step in (10, 20, 30):
        first.log_metrics({"train/loss": float(step)}, step=step)
    first.finalize("failed")

    second = CurveLogger(tmp_path)
    second.log_metrics(
        {"train/loss": -25.0}, step=25
    )  # resumed from step 20: the row of step 30 is no longer true
    second.finalize("success")
    assert [(row["step"], row["train/loss"]) for row in read(tmp_path)] == [
        ("11", "10.0"),
        ("21", "20.0"),
        ("26", "-25.0"),
    ]


def test_a_metric_that_appears_later_gets_a_column_and_leaves_earlier_rows_empty(tmp_path):
    logger = CurveLogger(tmp_path)
    logger.log_metrics({"train/loss": 1.0}, step=1)
    logger.save()
    logger.log_metrics({"val/psnr": 2.0}, step=2)
    logger.finalize("success")
    assert [row["val/psnr"] for row in read(tmp_path)] == ["", "2.0"]


def test_nothing_logged_leaves_no_file(tmp_path):
    CurveLogger(tmp_path).finalize("success")
    assert not (tmp_path / "metrics.csv").exists()


def test_metrics_without_a_step_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no row in a curve"):
        CurveLogger(tmp_path).log_metrics({"train/loss": 1.0})


def test_what_cannot_be_written_is_said_once_and_written_later(tmp_path, caplog):
    """A file where the folder should be: no user, not even root, can write below it."""
    folder = tmp_path / "run"
    folder.write_text("")
    logger = CurveLogger(folder)
    for step in range(3):
        logger.log_metrics({"train/loss": float(step)}, step=step)
        logger.write()
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        "the curve cannot be written now"
    ]
    folder.unlink()
    logger.finalize("success")
    assert [row["train/loss"] for row in read(folder)] == ["0.0", "1.0", "2.0"]
    assert len(caplog.records) == 1


def test_a_curve_that_is_lost_at_the_end_is_named(tmp_path, caplog):
    logger = CurveLogger(tmp_path / "run")
    logger.log_metrics({"train/loss": 1.0}, step=0)
    logger.save()
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run").write_text("")
    logger.finalize("failed")
    assert "lacks the end of the curve" in caplog.records[-1].getMessage()
