"""Learning rates by step; oracle: torch's own schedulers, stepped from the start."""

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, CosineAnnealingWarmRestarts, MultiStepLR

from srlab.tasks.optimization import constant, cosine, cosine_restarts, multistep


def rates(build, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = build(optimizer)
    followed = []
    for _ in range(steps):
        followed.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return followed


def test_cosine_equals_torchs_and_stays_at_zero_after_its_end():
    ours = rates(lambda optimizer: cosine(optimizer, steps=20), 30)
    assert ours[:21] == pytest.approx(
        rates(lambda optimizer: CosineAnnealingLR(optimizer, 20), 21), abs=1e-12
    )
    assert ours[20:] == [0.0] * 10


def test_multistep_equals_torchs():
    ours = rates(lambda optimizer: multistep(optimizer, milestones=[3, 7, 8], gamma=0.5), 12)
    assert ours == pytest.approx(
        rates(lambda optimizer: MultiStepLR(optimizer, [3, 7, 8], 0.5), 12), abs=1e-12
    )


def test_a_warm_up_rises_by_equal_steps_to_what_follows():
    ours = rates(lambda optimizer: multistep(optimizer, milestones=[3, 7], gamma=0.5, warmup=4), 9)
    assert ours == pytest.approx([0.125, 0.25, 0.375, 0.25, 0.25, 0.25, 0.25, 0.125, 0.125])


def test_cosine_with_restarts_equals_torchs():
    ours = rates(lambda optimizer: cosine_restarts(optimizer, period=5, lowest=0.01), 14)
    theirs = rates(lambda optimizer: CosineAnnealingWarmRestarts(optimizer, 5, eta_min=0.01), 14)
    assert ours == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("changes", [{"period": 0}, {"lowest": -1.0}, {"lowest": 2.0}])
def test_impossible_restarts_and_warm_ups_are_refused(changes):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    with pytest.raises(ValueError, match=r"lie between 0 and optimizer.lr=1.0; got"):
        cosine_restarts(optimizer, **{"period": 5, "lowest": 0.1, **changes})
    with pytest.raises(ValueError, match=r"warmup must be 0 or more steps, got -1"):
        multistep(optimizer, milestones=[3], gamma=0.5, warmup=-1)


def test_constant_is_constant():
    assert rates(constant, 5) == [0.5] * 5


def test_a_checkpoint_of_a_schedule_holds_no_length():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    saved = cosine(optimizer, steps=10).state_dict()
    longer = cosine(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5), steps=40)
    longer.load_state_dict({**saved, "last_epoch": 10})
    assert longer.lr_lambdas[0](20) == pytest.approx(0.5)


@pytest.mark.parametrize("milestones", [[5, 3], [3, 3]])
def test_milestones_that_do_not_grow_are_refused(milestones):
    with pytest.raises(ValueError, match="milestones must increase"):
        multistep(torch.optim.SGD([torch.zeros(1)], lr=1.0), milestones=milestones, gamma=0.5)


def test_a_cosine_without_length_is_refused():
    with pytest.raises(ValueError, match="at least 1 step"):
        cosine(torch.optim.SGD([torch.zeros(1)], lr=1.0), steps=0)
