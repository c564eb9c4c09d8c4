"""However a run ends, its last state is saved, and what ended it is said."""

import errno
import json
import os
import signal
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from srlab.app import checks
from srlab.app.run_report import RunReport
from srlab.metrics.image_mean import ImageMean
from srlab.tasks.interruption import GracefulStop
from srlab.tasks.super_resolution import SuperResolutionTask
from training_runs import assert_same_state, checkpoint, curve, in_process, killed_after_saving

RUN = ("trainer.max_steps=4", "validate_every=2")


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory) -> Path:
    """The run that nothing happened to."""
    with pytest.MonkeyPatch.context() as patch:
        return in_process(photos, tmp_path_factory.mktemp("finished"), patch)(*RUN)


@pytest.mark.parametrize("step", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_a_failing_validation_costs_nothing(step, train, finished, tmp_path, monkeypatch, capsys):
    """Also the last one; the run resumes with the validation. Oracle: the run in which nothing failed."""
    run, honest = tmp_path / "run", ImageMean.update

    def failing(self, *arguments):
        if (run / "checkpoints" / "last.ckpt").exists() and checkpoint(run)["global_step"] == step:
            raise ValueError("image 0 is damaged")
        honest(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ImageMean, "update", failing)
        with pytest.raises(SystemExit, match="2"):
            train(*RUN)
    said = "".join(capsys.readouterr())
    assert "image 0 is damaged" in said
    assert f"the state of step {step} is saved; to resume from it:\n  python train.py resume={run}" in said
    train(f"resume={run}")
    assert_same_state(run, finished)
    assert curve(run) == curve(finished)
    assert checkpoint(run, "best")["global_step"] == checkpoint(finished, "best")["global_step"]


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param([(2, "last"), (4, "best")], id="two", marks=pytest.mark.slow),
        pytest.param([(6, "last")], id="at the end", marks=pytest.mark.slow),
    ],
)
def test_a_kill_before_a_validation_costs_nothing(kills, train, tmp_path):
    """With a moving average, which is what is validated; oracle: the run that was left alone."""
    words = ("trainer.max_steps=6", "validate_every=2", "callbacks=ema", "trainer.accumulate_grad_batches=2")
    whole = train(*words, into="whole")
    for step, name in kills:
        with killed_after_saving(step, name):
            train(*words, "resume=auto")
    run = train(*words, "resume=auto")
    assert_same_state(run, whole)
    assert curve(run) == curve(whole)


@pytest.mark.slow
def test_an_error_in_a_step_costs_that_step_alone(train, finished, tmp_path, monkeypatch, capsys):
    """As when a loader dies or memory runs out."""
    honest = SuperResolutionTask.training_step

    def failing(self, *arguments):
        if self.trainer.global_step == 3:
            raise RuntimeError("out of memory")
        return honest(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(SuperResolutionTask, "training_step", failing)
        with pytest.raises(SystemExit, match="2"):
            train(*RUN)
    assert "after step 3 of 4; the state of step 3 is saved" in "".join(capsys.readouterr())
    run = tmp_path / "run"
    train(f"resume={run}")
    assert_same_state(run, finished)
    assert curve(run) == curve(finished)


@pytest.mark.slow
def test_an_error_in_the_report_says_how_to_report_again(train, tmp_path, monkeypatch, capsys):
    def failing(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(RunReport, "publish", failing)
        with pytest.raises(SystemExit, match="2"):
            train("trainer.max_steps=1")
    run = tmp_path / "run"
    said = "".join(capsys.readouterr())
    assert f"the state of step 1 is saved; to resume from it:\n  python train.py resume={run}" in said


@pytest.mark.parametrize(
    "without",
    [
        "+trainer.limit_val_batches=0",
        pytest.param("callbacks.best=null", marks=pytest.mark.slow),
        pytest.param("+trainer.fast_dev_run=true", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_keeps_no_best_checkpoint_reports_its_last(without, train, finished):
    """Without validations the interval saves all the same; oracle: the run with them."""
    run = train(*RUN, without)
    summary = json.loads((run / "summary.json").read_text())
    steps = 1 if "fast" in without else 4
    assert (summary["step"], summary["steps"]) == (steps, steps)
    assert summary["conditions"]["checkpoint"] == f"checkpoints/last.ckpt, step {steps}"
    if steps == 4:
        assert_same_state(run, finished)
        assert summary["ended_by"] is None


@pytest.mark.slow
def test_a_run_without_validations_saves_its_weights_beside_their_average(train):
    """Oracle: the run with validations."""
    words = (*RUN, "callbacks=ema")
    whole = train(*words, into="whole")
    assert_same_state(train(*words, "+trainer.limit_val_batches=0"), whole)


@pytest.mark.slow
def test_a_run_without_validations_saves_at_its_interval(train, finished, tmp_path, monkeypatch):
    """A kill in step 4 leaves step 2."""

    class Killed(BaseException):
        pass

    def killed(self, trainer, *_):
        if trainer.global_step == 3:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(GracefulStop, "on_train_batch_start", killed)
        with pytest.raises(Killed):
            train(*RUN, "+trainer.limit_val_batches=0")
    assert checkpoint(tmp_path / "run")["global_step"] == 2
    train(f"resume={tmp_path / 'run'}")
    assert_same_state(tmp_path / "run", finished)


def test_a_terminal_that_closes_stops_a_run_as_sigterm_does(train, finished, tmp_path, monkeypatch):
    def hang_up(self, trainer, *_):
        if trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGHUP)

    with monkeypatch.context() as patch:
        patch.setattr(GracefulStop, "on_train_batch_start", hang_up)
        with pytest.raises(SystemExit) as stopped:
            train(*RUN)
    assert stopped.value.code == 129
    assert checkpoint(tmp_path / "run")["global_step"] == 3
    train(f"resume={tmp_path / 'run'}")
    assert_same_state(tmp_path / "run", finished)


@pytest.mark.slow
def test_a_run_that_ends_early_says_so_and_records_it(train, capsys):
    stopping = "{_target_:lightning.pytorch.callbacks.EarlyStopping,monitor:val/psnr,mode:max,patience:1"
    run = train("trainer.max_steps=40", "validate_every=1", f"+callbacks.early={stopping},min_delta:1000}}")
    said = "".join(capsys.readouterr())
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["steps"], summary["planned_steps"]) == (2, 40)
    assert summary["ended_by"].startswith("early stopping: Monitored metric val/psnr did not improve")
    assert "ended after step 2 of 40: early stopping: " in said
    assert f"to train longer:\n  python train.py resume={run}" in said


@pytest.mark.slow
def test_a_run_that_had_no_time_for_a_step_is_no_result(train, capsys):
    with pytest.raises(SystemExit, match="2"):
        train(*RUN, "+trainer.max_time=00:00:00:00")
    assert "ended after step 0 of 4: trainer.max_time is used up: there is nothing to report" in "".join(
        capsys.readouterr()
    )


@pytest.mark.slow
def test_data_that_moved_are_named_by_the_resume_and_a_run_keeps_its_paths(
    train, photos, finished, tmp_path, monkeypatch
):
    """Relative roots are those of the folder where the run began; oracle: absolute ones."""
    (tmp_path / "train").symlink_to(photos / "train")
    roots = ["data.root=train", f"data.validation_root={photos / 'validation'}"]
    run = train("trainer.max_steps=2", "validate_every=2", "scheduler.steps=4", *roots)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    train(f"resume={run}", "trainer.max_steps=3", "validate_every=1")
    (tmp_path / "train").unlink()
    train(f"resume={run}", "trainer.max_steps=4", f"data.root={photos / 'train'}")
    for name, value in checkpoint(run)["state_dict"].items():
        assert value.equal(checkpoint(finished)["state_dict"][name]), name
    assert OmegaConf.load(run / "config.yaml").data.root == str(photos / "train")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["callbacks.best.monitor=val/lpips"],
            "KeptCheckpoint monitors 'val/lpips', which this run does not log",
        ),
        (["callbacks.stop=null"], "callbacks.stop saves a run that is stopped"),
    ],
)
def test_what_would_fail_later_is_refused_before_the_first_step(overrides, message, train, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        train(*RUN, *overrides)
    assert message in "".join(capsys.readouterr())
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_disk_without_room_for_a_checkpoint_is_refused(train, tmp_path, monkeypatch, capsys):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(SystemExit, match="2"):
        train(*RUN)
    assert "a checkpoint needs 0.1 MB and " in "".join(capsys.readouterr())
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize(
    "overrides",
    [
        ["callbacks.last=null"],
        ["callbacks.progress=null", "callbacks.learning_rate=null", "callbacks.finite=null"],
        ["trainer.precision=bf16"],
    ],
)
@pytest.mark.slow
def test_callbacks_that_a_run_can_do_without_may_be_left_out(overrides, train):
    run = train("trainer.max_steps=2", *overrides)
    assert checkpoint(run)["global_step"] == 2
