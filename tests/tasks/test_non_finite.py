"""What is decided about bad losses without a whole run: oracles are closed forms and torch's own scaler."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from srlab.tasks.checkpoint_io import NonFiniteError
from srlab.tasks.non_finite import SkipBadSteps, StopOnBadLoss


class Strategy:
    """Two devices, of which the other one's loss is ``other`` above ours."""

    def __init__(self, other: float = 0.0) -> None:
        self.other = other

    def reduce(self, loss, reduce_op):
        assert reduce_op == "mean"
        return loss + self.other / 2

    def reduce_boolean_decision(self, decision, all):
        return decision


def trainer_of(**changes):
    facts = {"strategy": Strategy(), "log_every_n_steps": 1, "val_check_batch": 1000, "world_size": 1}
    return SimpleNamespace(
        **{
            **facts,
            "global_step": 0,
            "accumulate_grad_batches": 1,
            "scaler": None,
            "is_global_zero": False,
            **changes,
        }
    )


@pytest.fixture
def described(monkeypatch):
    for policy in (SkipBadSteps, StopOnBadLoss):
        monkeypatch.setattr(policy, "describe", lambda *_: "described")


def stop_after(tmp_path, losses, trainer, *, batch_idx=0):
    callback = StopOnBadLoss(loss_spike_factor=100.0, checkpoints=tmp_path)
    callback.losses.extend([2.0] * 10)
    for place, loss in enumerate(losses, batch_idx):
        callback.on_train_batch_end(trainer, nn.Module(), {"loss": torch.tensor(loss)}, None, place)
    return callback


def test_a_step_that_was_not_read_yet_is_read_before_it_is_saved(tmp_path, described):
    """A signal may have it saved between two reads: the run would resume from the broken state."""
    trainer = trainer_of(log_every_n_steps=50)
    stop_after(tmp_path, [2.0, 2.0], trainer).on_save_checkpoint(trainer, nn.Module(), {})
    spiked = stop_after(tmp_path, [2.0, 201.0, 2.0], trainer)
    with pytest.raises(NonFiniteError, match="described"):
        spiked.on_save_checkpoint(trainer, nn.Module(), {})
    StopOnBadLoss(loss_spike_factor=None, checkpoints=tmp_path).on_save_checkpoint(trainer, nn.Module(), {})


def test_the_median_is_that_of_all_devices(tmp_path):
    """Checkpoints hold the first one's alone."""
    callback = stop_after(tmp_path, [4.0], trainer_of(strategy=Strategy(other=6.0)))
    assert list(callback.losses)[-1] == 7.0


def test_a_stopped_run_that_resumes_with_skip_keeps_the_median(tmp_path):
    """Otherwise the very step that stopped it would pass, a few steps later."""
    stopped = stop_after(tmp_path, [2.0], trainer_of())
    skipping = SkipBadSteps(loss_spike_factor=100.0, checkpoints=tmp_path)
    assert skipping.state_key == stopped.state_key
    skipping.load_state_dict(stopped.state_dict())
    assert (skipping.limit, skipping.skipped) == (200.0, 0)
    stopped.load_state_dict(skipping.state_dict())
    assert stopped.limit == 200.0


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("factor", [float("nan"), 1e6])
def test_a_step_is_skipped_under_a_scaler_of_gradients(tmp_path, described, fused, factor):
    """Fused steps unscale by themselves; as Lightning drives both. Oracle: the weight does not move."""
    model = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    callback = SkipBadSteps(loss_spike_factor=10.0, checkpoints=tmp_path)
    callback.losses.extend([1.0] * 10)
    trainer = trainer_of(scaler=scaler)

    def step(factor: float) -> float:
        callback.on_train_batch_start(trainer, model, None, 0)
        loss = scaler.scale(((model.weight * 0 + 1) * factor + model.weight * 0.1).sum())
        callback.on_before_backward(trainer, model, loss)
        loss.backward()
        if not getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)
        callback.on_before_optimizer_step(trainer, model, optimizer)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        return model.weight.item()

    before = step(1.0)
    assert step(factor) == before
    assert callback.skipped == 1
    assert step(1.0) != before
