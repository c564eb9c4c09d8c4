"""The step of Muon against PyTorch's own Muon and Adam, and its orthogonalization against the SVD."""

import pytest
import torch
from torch import nn

from srlab.tasks.muon import Muon, is_matrix, orthogonalized


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stepped(optimizer: torch.optim.Optimizer, count: int = 3) -> list[torch.Tensor]:
    """The weights after ``count`` steps along given gradients."""
    weights = optimizer.param_groups[0]["params"]
    for step in range(count):
        for weight in weights:
            weight.grad = drawn(*weight.shape, seed=step)
        optimizer.step()
    return [weight.detach() for weight in weights]


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (12, 5)])
def test_orthogonalized_has_the_singular_vectors_and_values_near_1(shape):
    matrix = drawn(*shape).double()
    found = orthogonalized(matrix[None])[0]
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    core = left.mT @ found @ right.mT
    values = core.diagonal()
    torch.testing.assert_close(core, values.diag(), atol=1e-9, rtol=0)
    assert values.min() > 0.65
    assert values.max() < 1.25


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (12, 5)])
def test_matrices_step_as_in_pytorch_whose_iterations_are_in_bfloat16(shape):
    own, theirs = nn.Parameter(drawn(*shape, seed=9)), nn.Parameter(drawn(*shape, seed=9))
    reference = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    change = stepped(Muon([own], lr=0.01))[0] - drawn(*shape, seed=9)
    expected = stepped(reference)[0] - drawn(*shape, seed=9)
    assert (change - expected).norm() < 0.03 * expected.norm()


def test_a_kernel_steps_as_its_matrix_whatever_its_memory_format():
    kernel = drawn(8, 3, 3, 3, seed=9)
    weights = [kernel.clone(), kernel.to(memory_format=torch.channels_last), kernel.flatten(1)]
    optimizers = [Muon([nn.Parameter(each)]) for each in weights]
    plain, channels_last, flat = (optimizer.param_groups[0]["params"][0] for optimizer in optimizers)
    for step in range(3):
        gradient = drawn(8, 3, 3, 3, seed=step)
        plain.grad, flat.grad = gradient, gradient.flatten(1)
        channels_last.grad = gradient.to(memory_format=torch.channels_last)
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(plain.flatten(1), flat, rtol=0, atol=0)
    torch.testing.assert_close(channels_last, plain, rtol=1e-6, atol=1e-7)


def test_other_weights_step_as_in_adam_and_gradients_are_kept():
    shapes = [(7,), (4, 1, 3, 3), (1, 5), (5, 1)]
    own = [nn.Parameter(drawn(*shape, seed=9)) for shape in [*shapes, (4, 4)]]
    theirs = [nn.Parameter(drawn(*shape, seed=9)) for shape in shapes]
    found = stepped(Muon(own, lr=0.01, betas=(0.8, 0.9)))
    expected = stepped(torch.optim.Adam(theirs, lr=0.01, betas=(0.8, 0.9)))
    assert [is_matrix(each) for each in own] == [False] * 4 + [True]
    for one, other in zip(found, expected, strict=False):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    for each in own:
        assert each.grad is not None
        assert each.grad.equal(drawn(*each.shape, seed=2))


def test_matrices_of_one_shape_step_as_each_alone():
    together = [nn.Parameter(drawn(5, 7, seed=seed)) for seed in (1, 2)]
    alone = [nn.Parameter(drawn(5, 7, seed=seed)) for seed in (1, 2)]
    stepped(Muon(together))
    for weight, other in zip(together, alone, strict=True):
        torch.testing.assert_close(weight, nn.Parameter(stepped(Muon([other]))[0]), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("fused", [False, True])
def test_a_restored_optimizer_steps_on_as_if_it_had_never_stopped(fused):
    whole, parts = ([nn.Parameter(drawn(*shape)) for shape in [(4, 6), (3,)]] for _ in range(2))
    uninterrupted, first, second = (
        Muon(whole, fused=fused),
        Muon(parts, fused=fused),
        Muon(parts, fused=fused),
    )
    stepped(uninterrupted, 2)
    stepped(first, 2)
    second.load_state_dict(first.state_dict())
    for one, other in zip(stepped(uninterrupted), stepped(second), strict=True):
        assert torch.equal(one, other)


def test_nothing_moves_along_a_gradient_of_zeros():
    weight = nn.Parameter(drawn(4, 4))
    weight.grad = torch.zeros(4, 4)
    Muon([weight]).step()
    assert torch.equal(weight, drawn(4, 4))


def test_a_closure_is_called_once_and_its_loss_returned():
    weight, losses = nn.Parameter(drawn(4, 4)), []

    def closure():
        weight.grad = None
        losses.append(weight.square().sum())
        losses[-1].backward()
        return losses[-1]

    optimizer = Muon([weight], lr=0.05)
    assert [optimizer.step(closure) for _ in range(40)] == losses
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize(
    ("option", "value", "fault"),
    [("momentum", 1.0, r"must lie in \[0, 1\)"), ("rms", 0.0, "must be positive")],
)
def test_an_option_out_of_range_is_refused(option, value, fault):
    with pytest.raises(ValueError, match=rf"optimizer\.{option} {fault}, got {value}"):
        Muon([nn.Parameter(drawn(2, 2))], **{option: value})
