"""Stopping a run and going on with it by resume=RUN, as typed at a terminal."""

import math
import os
import signal
import time
from functools import partialmethod

import pytest
import torch

from srlab.tasks.interruption import GracefulStop
from training_runs import curve, plain_words, weights


@pytest.fixture
def press_ctrl_c(monkeypatch):
    """A user who presses Ctrl-C, once, while the step that follows ``finished`` steps is computed."""
    pressed = []

    def press(self, trainer, *_, finished: int):
        if trainer.global_step == finished and not pressed:
            pressed.append(True)
            os.kill(os.getpid(), signal.SIGINT)

    return lambda finished: monkeypatch.setattr(
        GracefulStop, "on_train_batch_start", partialmethod(press, finished=finished)
    )


@pytest.mark.parametrize(
    ("extra", "finished"),
    [
        pytest.param([], 2, id="plain, between validations", marks=pytest.mark.slow),
        pytest.param(
            ["callbacks=ema", "trainer.accumulate_grad_batches=2"],
            3,
            id="ema and accumulation, when one is due",
        ),
    ],
)
def test_a_run_stopped_by_ctrl_c_and_resumed_equals_one_that_never_stopped(
    train, extra, finished, press_ctrl_c, tmp_path
):
    """Weights, averages, curve and schedule, bit for bit; oracle: the run in one go."""
    steps = ["trainer.max_steps=6", "validate_every=2", *extra]
    whole = train(*steps, into="whole")

    press_ctrl_c(finished)
    with pytest.raises(SystemExit) as stopped:
        train(*steps, into="halves")
    assert stopped.value.code == 130
    halves = tmp_path / "halves"
    assert curve(halves)[-1]["step"] == str(finished + 1)
    train(f"resume={halves}", into="halves")

    for key in ["state_dict", *(["current_model_state"] if "callbacks=ema" in extra else [])]:
        for name, value in weights(whole, key).items():
            assert torch.equal(value, weights(halves, key)[name]), (key, name)
    assert curve(whole) == curve(halves)


@pytest.mark.slow
def test_a_finished_run_goes_on_from_its_weights_not_from_their_average(train):
    """Oracle: the run that was told the full length at once, under a constant learning rate."""
    common = ["callbacks=ema", "scheduler=constant", "validate_every=2"]
    whole = train("trainer.max_steps=6", *common, into="whole")
    train("trainer.max_steps=4", *common, into="longer")
    longer = train(f"resume={whole.parent / 'longer'}", "trainer.max_steps=6", into="longer")
    for name, value in weights(whole, "current_model_state").items():
        assert torch.equal(value, weights(longer, "current_model_state")[name]), name


@pytest.mark.slow
def test_a_resumed_run_follows_the_schedule_that_it_is_given_now(train):
    """Oracle: half a cosine over the new length, from the new learning rate."""
    run = train("trainer.max_steps=4", "validate_every=2", "optimizer.lr=1e-3")
    train(f"resume={run}", "trainer.max_steps=8", "optimizer.lr=2e-3")
    followed = {int(row["step"]): float(row["lr-Adam"]) for row in curve(run)}
    expected = [5e-4 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    expected += [1e-3 * (1 + math.cos(math.pi * step / 8)) for step in range(4, 8)]
    assert [followed[step] for step in range(1, 9)] == pytest.approx(expected, abs=1e-12)


def test_resuming_what_is_not_there_says_where_it_looked(train, capsys):
    with pytest.raises(SystemExit, match="2"):
        train("resume=nowhere")
    assert "resume=nowhere: no run there" in capsys.readouterr().err


def test_a_resume_or_a_start_that_fails_leaves_the_run_as_it_was(train, capsys):
    run = train("trainer.max_steps=2", "validate_every=1")
    before = (run / "config.yaml").read_text()
    for override in ("model.dim=24", "trainer.max_steps=x", "model=swinir_light"):
        with pytest.raises(SystemExit, match="2"):
            train(f"resume={run}", override)
    with pytest.raises(SystemExit, match="2"):
        train("trainer.max_steps=1", "validate_every=1")
    said = capsys.readouterr().out
    assert "would make it another one" in said
    assert "would exchange all of model" in said
    assert "already holds a run" in said
    assert (run / "config.yaml").read_text() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "number"),
    [(1, signal.SIGTERM), (2, signal.SIGINT)],
)
def test_a_signal_to_all_processes_of_a_run_saves_it_and_it_can_go_on(
    forked, photos, tmp_path, devices, number
):
    """As terminals and schedulers send it: to the whole process group, loaders and other ranks included."""
    folder = tmp_path / "run"
    long = [
        "trainer.max_steps=1000000",
        f"trainer.devices={devices}",
        "data.num_workers=1",
        "validate_every=1000000",
    ]
    run = forked.start(plain_words(photos, tmp_path, folder, *long), cwd=tmp_path)
    deadline = time.monotonic() + 240
    while not (folder / "metrics.csv").exists():  # written a few seconds into the training
        assert time.monotonic() < deadline, run.output
        time.sleep(0.2)
    os.killpg(run.pid, number)
    assert run.wait(timeout=120) == 128 + number, run.output
    assert f"train.py resume={folder}" in run.output
    steps = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    forked.finish([f"resume={folder}", f"trainer.max_steps={steps + 2}", "validate_every=1"], cwd=tmp_path)
