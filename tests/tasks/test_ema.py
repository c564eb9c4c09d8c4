"""The moving average of weights and BatchNorm statistics."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from srlab.tasks.ema import ExponentialMovingAverage


def average_after(modules: list[nn.Module], decay: float) -> nn.Module:
    """What the callback's own averaging function makes of a sequence of snapshots."""
    callback = ExponentialMovingAverage(decay=decay)
    averaged = AveragedModel(modules[0], use_buffers=True, **callback._kwargs)
    for module in modules:
        averaged.update_parameters(module)
    return averaged.module


def snapshots(count: int) -> list[nn.Module]:
    torch.manual_seed(0)
    modules = []
    for index in range(count):
        module = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).double()
        module[1].running_mean.normal_()
        module[1].running_var.uniform_(0.5, 2)
        module[1].num_batches_tracked.fill_(10 * index)
        modules.append(module)
    return modules


@pytest.mark.parametrize("key", ["0.weight", "1.weight", "1.running_mean", "1.running_var"])
def test_average_follows_its_closed_form_for_weights_and_running_statistics(key):
    """Oracle: the first snapshot weighs decay^n, the i-th later one (1 - decay) decay^(n - i)."""
    decay, modules = 0.9, snapshots(5)
    values = [module.state_dict()[key].clone() for module in modules]
    last = len(values) - 1
    expected = decay**last * values[0] + sum(
        (1 - decay) * decay ** (last - index) * values[index] for index in range(1, last + 1)
    )
    torch.testing.assert_close(
        average_after(modules, decay).state_dict()[key], expected, rtol=1e-12, atol=1e-12
    )


def test_batch_counter_is_copied_not_averaged():
    assert average_after(snapshots(5), 0.9).state_dict()["1.num_batches_tracked"] == 40


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5])
def test_a_decay_outside_its_range_is_refused(decay):
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\)"):
        ExponentialMovingAverage(decay=decay)
