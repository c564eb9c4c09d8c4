"""logger=tensorboard: its event files, read by TensorBoard's own reader, equal metrics.csv."""

import csv
import json
import math
from importlib.util import find_spec

import pytest

from srlab.extensions.tensorboard.logger import RunTensorBoardLogger
from srlab.runs.contract import METRICS_FILE, MONITOR, STEP, TRAIN_LOSS, ResultLogger
from tiny_runs import TINY, train, write_photos

needs_tensorboard = pytest.mark.skipif(
    find_spec("tensorboard") is None, reason='TensorBoard is not installed: pip install -e ".[tensorboard]"'
)


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder)).Reload()
    return {
        key: [(each.step, each.value) for each in reader.Scalars(key)] for key in reader.Tags()["scalars"]
    }


def curve(path, key):
    with path.open(newline="") as file:
        return [(int(row[STEP]), float(row[key])) for row in csv.DictReader(file) if row.get(key)]


def test_without_the_package_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("srlab.extensions.optional_packages.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install -e "\.\[tensorboard\]"'):
        RunTensorBoardLogger(save_dir=str(tmp_path))


@needs_tensorboard
def test_a_step_that_is_logged_again_replaces_what_followed(tmp_path):
    for values in ((0, 5.0), (1, 4.0), (2, 3.0)), ((1, 40.0),):
        logger = RunTensorBoardLogger(save_dir=str(tmp_path))
        assert isinstance(logger, ResultLogger)
        for step, value in values:
            logger.log_metrics({TRAIN_LOSS: value, "epoch": 0}, step)
        logger.finish(exit_code=0)
    assert scalars(tmp_path) == {TRAIN_LOSS: [(1, 5.0), (2, 40.0)]}


@pytest.mark.slow
@needs_tensorboard
def test_a_resumed_run_has_the_curve_of_metrics_csv_and_its_result(tmp_path, capsys):
    run = tmp_path / "run"
    train(*TINY, *write_photos(tmp_path / "photos"), "logger=tensorboard", f"hydra.run.dir={run}")
    train(f"resume={run}", "trainer.max_steps=6")
    assert f"tensorboard --logdir {run}/tensorboard" in capsys.readouterr().out
    logged = scalars(run / "tensorboard")
    for key in (TRAIN_LOSS, MONITOR, "val/validation/ssim"):
        expected = curve(run / METRICS_FILE, key)
        assert [step for step, _ in logged[key]] == [step for step, _ in expected]
        for (_, value), (_, in_file) in zip(logged[key], expected, strict=True):
            assert math.isclose(value, in_file, rel_tol=1e-6)  # event files hold float32
    summary = json.loads((run / "summary.json").read_text())
    step, value = logged["best/val/validation/psnr"][-1]
    assert step == summary["step"]
    assert math.isclose(value, summary["scores"][0]["scores"]["psnr"], rel_tol=1e-6)
    assert "epoch" not in logged
