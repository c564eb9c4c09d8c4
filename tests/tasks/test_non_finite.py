"""What is decided about bad losses without a whole run: oracles are closed forms and torch's own scaler."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from srlab.tasks import non_finite
from srlab.tasks.bad_steps import NonFiniteLossError
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
        **{**facts, "global_step": 0, "accumulate_grad_batches": 1, "scaler": None, **changes}
    )


@pytest.fixture
def described(monkeypatch):
    monkeypatch.setattr(non_finite, "describe_step", lambda *_: "described")
    monkeypatch.setattr(non_finite, "log_count", lambda *_, **__: None)


def stop_after(tmp_path, losses, trainer, *, batch_idx=0):
    callback = StopOnBadLoss(explosion=100.0, checkpoints=tmp_path)
    callback.usual.losses.extend([2.0] * 10)
    for place, loss in enumerate(losses, batch_idx):
        callback.on_train_batch_end(trainer, nn.Module(), {"loss": torch.tensor(loss)}, None, place)
    return callback


def test_a_step_that_nobody_has_looked_at_is_looked_at_before_it_is_saved(tmp_path, described):
    """A signal may have it saved between two looks: the exploded state would be what the run goes on from."""
    trainer = trainer_of(log_every_n_steps=50)
    stop_after(tmp_path, [2.0, 2.0], trainer).on_save_checkpoint(trainer, nn.Module(), {})
    exploded = stop_after(tmp_path, [2.0, 201.0, 2.0], trainer)
    with pytest.raises(NonFiniteLossError, match="described"):
        exploded.on_save_checkpoint(trainer, nn.Module(), {})
    StopOnBadLoss(explosion=None, checkpoints=tmp_path).on_save_checkpoint(trainer, nn.Module(), {})


def test_the_usual_loss_is_that_of_all_devices(tmp_path):
    """Checkpoints hold the first one's alone."""
    callback = stop_after(tmp_path, [4.0], trainer_of(strategy=Strategy(other=6.0)))
    assert list(callback.usual.losses)[-1] == 7.0


def test_a_run_that_was_stopped_and_goes_on_with_skip_knows_the_usual_loss(tmp_path):
    """Otherwise the very step that stopped it, a few steps on, would pass."""
    stopped = stop_after(tmp_path, [2.0], trainer_of())
    skipping = SkipBadSteps(explosion=100.0, checkpoints=tmp_path, goes_back=False)
    assert skipping.state_key == stopped.state_key
    skipping.load_state_dict(stopped.state_dict())
    assert (skipping.usual.limit, skipping.skipped, skipping.returns) == (200.0, 0, [])
    stopped.load_state_dict(skipping.state_dict())
    assert stopped.usual.limit == 200.0


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("factor", [float("nan"), 1e6])
def test_a_step_is_left_out_under_a_scaler_of_gradients(tmp_path, described, fused, factor):
    """Fused steps unscale by themselves; as Lightning drives both. Oracle: the weight does not move."""
    model = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    callback = SkipBadSteps(explosion=10.0, checkpoints=tmp_path, goes_back=False)
    callback.usual.losses.extend([1.0] * 10)
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
