import pytest
import torch
from torch import nn

from srlab.counts.live_memory import count_live_bytes

MIB = 2**20
SLACK = 64  # scalars that operators hold for a moment


def tensor_of(mib: int) -> torch.Tensor:
    return torch.empty(mib * MIB, dtype=torch.uint8)


def test_the_peak_is_what_lives_at_once_not_what_was_taken_in_all():
    def run():
        first, second = tensor_of(3), tensor_of(5)
        del first
        third = tensor_of(2)
        del second, third
        return tensor_of(4)

    assert count_live_bytes(run) == (8 * MIB, 0)


def test_what_stays_is_counted_and_what_lived_before_is_not():
    before, kept = tensor_of(7), []
    assert count_live_bytes(lambda: kept.append(tensor_of(2))) == (2 * MIB, 2 * MIB)
    peak, left = count_live_bytes(lambda: kept.clear() or before.add(1))
    assert 5 * MIB <= peak <= 5 * MIB + SLACK
    assert left == -2 * MIB


def test_memory_inside_operators_is_seen():
    """A chunk of x (x + 1) (x + 2) needs two results at once beside its argument."""
    x = torch.ones(MIB // 4)
    peak, _ = count_live_bytes(lambda: ((x + 1) * x) * (x + 2))
    assert 3 * MIB <= peak <= 3 * MIB + SLACK


def test_a_training_step_holds_what_the_backward_pass_needs():
    """Of n layers, sigmoid keeps every result: n tensors, and the gradients of two neighbours at once."""
    layers = nn.Sequential(*(nn.Sigmoid() for _ in range(10)))
    x = torch.zeros(MIB // 4, requires_grad=True)
    peak, left = count_live_bytes(lambda: layers(x).sum().backward())
    assert 10 * MIB <= peak <= 12 * MIB + SLACK
    assert left == MIB  # the gradient of x


def test_an_error_passes_and_the_next_count_is_right():
    with pytest.raises(ValueError, match="no"):
        count_live_bytes(_fail)
    assert count_live_bytes(lambda: tensor_of(1)) == (MIB, 0)


def _fail():
    raise ValueError("no")


def test_nothing_is_written_to_standard_error(capfd):
    count_live_bytes(lambda: tensor_of(1))
    assert capfd.readouterr().err == ""
