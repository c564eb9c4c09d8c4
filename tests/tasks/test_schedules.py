"""Learning rates by step; oracle: torch's own schedulers, stepped from the start."""

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR

from srlab.tasks.schedules import constant, cosine, multistep


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
    with pytest.raises(ValueError, match="milestones must grow"):
        multistep(torch.optim.SGD([torch.zeros(1)], lr=1.0), milestones=milestones, gamma=0.5)


def test_a_cosine_without_length_is_refused():
    with pytest.raises(ValueError, match="at least 1 step"):
        cosine(torch.optim.SGD([torch.zeros(1)], lr=1.0), steps=0)
