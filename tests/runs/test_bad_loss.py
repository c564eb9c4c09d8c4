"""on_nan: NaN/inf, or a spiked loss, in the middle of a run."""

import re
from collections.abc import Callable

import pytest
import torch

from srlab.tasks.non_finite import StopOnBadLoss, bad_loss_policy
from srlab.tasks.super_resolution import SuperResolutionTask
from training_runs import (
    assert_same_state,
    checkpoint,
    curve,
    killed_after_saving,
    plain_words,
    weights,
)


@pytest.fixture
def spoil(monkeypatch) -> Callable[..., None]:
    """Multiplies what the network restores in some steps, so that loss, gradients and statistics suffer."""
    honest = SuperResolutionTask.training_step

    def by(factor: float, *steps: int, micro_batch: int = 0) -> None:
        def training_step(self, batch, batch_idx):
            forward = self._restore_crops
            if (
                self.trainer.global_step + 1 in steps
                and batch_idx % self.trainer.accumulate_grad_batches == micro_batch
            ):
                self._restore_crops = lambda image: forward(image * factor)
            try:
                return honest(self, batch, batch_idx)
            finally:
                self._restore_crops = forward

        monkeypatch.setattr(SuperResolutionTask, "training_step", training_step)

    return by


NAN = float("nan")


def test_stop_names_step_and_samples_and_keeps_the_last_good_state(train, spoil, tmp_path, capsys):
    """Looked at only at the validation of step 4, after the weights are lost; the checkpoint is of step 2."""
    spoil(NAN, 3, micro_batch=1)
    with pytest.raises(SystemExit, match="2"):
        train(
            *("trainer.max_steps=4", "validate_every=2", "trainer.log_every_n_steps=50"),
            *("trainer.accumulate_grad_batches=2", "callbacks=ema"),
        )
    said = "".join(capsys.readouterr())
    assert "the loss became nan in step 3, micro-batch 2 of 2" in said
    # steps of 4 samples, halves of 2: step 3 has numbers 8 to 11
    assert "on samples 10 to 11: " in said
    assert said.count("image ") == said.count(" (LR row ") == 2
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert f"{last} is from before" in said
    saved = checkpoint(tmp_path / "run")
    assert saved["global_step"] == 2
    for key in ("state_dict", "current_model_state"):
        assert all(bool(torch.isfinite(value).all()) for value in saved[key].values())


def test_weights_that_are_no_numbers_are_not_saved_though_their_loss_was_one(
    train, tmp_path, capsys, monkeypatch
):
    """The gradient of step 2, which is validated, is infinite; its loss is not."""
    train("trainer.max_steps=1", "validate_every=1", "scheduler=constant")
    before = (tmp_path / "run" / "checkpoints" / "last.ckpt").read_bytes()

    def spoil(self, optimizer):
        for parameter in self.parameters():
            parameter.grad = torch.full_like(parameter, float("inf"))

    monkeypatch.setattr(SuperResolutionTask, "on_before_optimizer_step", spoil)
    with pytest.raises(SystemExit, match="2"):
        train(f"resume={tmp_path / 'run'}", "trainer.max_steps=2")
    assert "or the weights after it, became NaN or infinite in step 2" in "".join(capsys.readouterr())
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").read_bytes() == before


@pytest.mark.parametrize("factor", [NAN, pytest.param(float("inf"), marks=pytest.mark.slow)])
def test_a_skipped_step_leaves_weights_moments_and_statistics_as_they_were(factor, train, spoil, capsys):
    """Of two micro-batches the first is bad; oracle: the run that ends before that step."""
    common = ("validate_every=1", "scheduler=constant", "trainer.accumulate_grad_batches=2", "on_nan=skip")
    short = train("trainer.max_steps=1", *common, into="short")
    spoil(factor, 2)
    skipped = train("trainer.max_steps=2", *common, into="skipped")
    one, two = checkpoint(short), checkpoint(skipped)
    assert two["global_step"] == 2
    for key in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(two[key], one[key], rtol=0, atol=0)
    assert curve(skipped)[1]["train/skipped_steps"] == "1.0"
    assert "step 2 is skipped (1 so far): the loss became " in "".join(capsys.readouterr())


@pytest.mark.slow
def test_too_many_bad_steps_in_a_row_end_the_run(train, spoil, tmp_path, capsys):
    spoil(NAN, *range(2, 20))
    with pytest.raises(SystemExit, match="2"):
        train("trainer.max_steps=20", "validate_every=1", "on_nan=skip")
    assert "10 bad steps in a row were skipped; the loss became nan in step 12" in "".join(
        capsys.readouterr()
    )
    assert checkpoint(tmp_path / "run")["global_step"] == 11


@pytest.mark.slow
def test_a_run_with_skipped_steps_resumes_after_a_kill_to_the_same_last_bit(train, spoil):
    """Steps 4 and 6 are bad; killed after the checkpoint of step 4; oracle: the run that was not."""
    spoil(NAN, 4, 6)
    typed = ("trainer.max_steps=8", "validate_every=2", "callbacks=ema", "on_nan=skip")
    whole = train(*typed, into="whole")
    with killed_after_saving(4, "last"):
        train(*typed)
    run = train(*typed, "resume=auto")
    assert_same_state(run, whole)
    assert curve(run) == curve(whole)


def test_a_spiked_loss_is_skipped_although_it_is_finite(train, spoil, capsys):
    spoil(1e6, 12)
    run = train("trainer.max_steps=12", "validate_every=12", "on_nan=skip", "scheduler=constant")
    assert "step 12 is skipped (1 so far): the loss spiked to " in "".join(capsys.readouterr())
    assert all(bool(torch.isfinite(value).all()) for value in weights(run).values())


def test_the_limit_of_a_loss_is_its_running_median_times_the_factor(tmp_path):
    policy = StopOnBadLoss(loss_spike_factor=5.0, checkpoints=tmp_path)
    policy.losses.extend([2.0] * 9)
    assert policy.limit == float("inf")  # too few to tell
    policy.losses.append(1000.0)
    assert policy.limit == 10.0
    policy = StopOnBadLoss(loss_spike_factor=None, checkpoints=tmp_path)
    policy.losses.extend([2.0] * 10)
    assert policy.limit == float("inf")


def test_what_on_nan_does_not_know_is_refused(tmp_path):
    with pytest.raises(ValueError, match="on_nan must be stop or skip, got 'ignore'"):
        bad_loss_policy(on_nan="ignore", loss_spike_factor=None, checkpoints=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match="loss_spike_factor must be more than 1 times the usual loss, or null, got 0"
    ):
        bad_loss_policy(on_nan="stop", loss_spike_factor=0.5, checkpoints=tmp_path)


@pytest.mark.slow
def test_two_processes_skip_the_steps_that_one_skips(forked, photos, tmp_path):
    """With a limit that ordinary losses exceed now and then; oracle: one process with the same batch."""
    said = []
    for devices in (1, 2):
        settings = ("scheduler=constant", "optimizer.lr=1e-4", "on_nan=skip", "loss_spike_factor=1.03")
        folder = tmp_path / str(devices)
        words = plain_words(photos, tmp_path, folder, f"trainer.devices={devices}", *settings)
        steps = ("trainer.max_steps=20", "validate_every=4", "callbacks.progress=null")
        printed = forked.finish([*words, *steps], cwd=tmp_path)
        said.append(re.findall(r"step \d+ is skipped.*? \(\d+ so far\)", printed))
    assert said[0] == said[1]
    assert len(said[0]) > 1, said
