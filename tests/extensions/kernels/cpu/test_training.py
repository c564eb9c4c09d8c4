"""Kernels with gradients on the CPU. Oracle: autograd of PyTorch's operators in float64."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from srlab.extensions.kernels.cpu.compiled import why_unavailable
from srlab.extensions.kernels.cpu.training import self_similarity_attention, shift_convolution
from srlab.extensions.kernels.cpu.window_attention import WindowGroup
from srlab.models.elan import ELAN, attend_as_published
from srlab.ops.shift import shift_channels_by_convolution

pytestmark = pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable()))


def leaf(*shape: int, factor: float = 1.0) -> Tensor:
    return (factor * torch.randn(*shape)).requires_grad_()


def in_double(tensor: Tensor) -> Tensor:
    return tensor.detach().double().requires_grad_()


def largest_difference(ours: Tensor | None, exact: Tensor | None) -> float:
    """Relative to the largest value."""
    return float((ours.double() - exact).abs().max() / exact.abs().max())


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("shifts", [True, False])
@pytest.mark.parametrize(
    ("batch", "inputs", "outputs", "height", "width"),
    [(2, 36, 72, 16, 48), (1, 7, 5, 9, 13), (3, 10, 21, 5, 1), (1, 12, 12, 3, 700)],
)
def test_shift_convolution_has_the_gradients_of_the_published_one(
    batch, inputs, outputs, height, width, shifts, relu
):
    torch.manual_seed(0)
    ours = leaf(batch, inputs, height, width), leaf(outputs, inputs, 1, 1), leaf(outputs)
    exact = [in_double(tensor) for tensor in ours]
    result = shift_convolution(*ours, shifts=shifts, relu=relu)
    expected = F.conv2d(shift_channels_by_convolution(exact[0]) if shifts else exact[0], *exact[1:])
    expected = F.relu(expected) if relu else expected
    gradient = torch.randn_like(result)
    result.backward(gradient)
    expected.backward(gradient.double())
    assert largest_difference(result, expected) < 1e-5
    for tensor, reference in zip(ours, exact, strict=True):
        assert largest_difference(tensor.grad, reference.grad) < 1e-5


@pytest.mark.parametrize(
    ("sides", "depth", "height", "width", "shifted"),
    [
        ((4, 8, 16), 12, 48, 32, True), ((4, 8, 16), 12, 32, 32, False), ((8, 8, 8), 5, 24, 16, True),
        ((6, 12), 7, 24, 36, True), ((3,), 4, 9, 6, True), ((16,), 20, 16, 32, True), ((2,), 1, 4, 2, False),
    ],
)  # fmt: skip
def test_attention_and_what_reuses_its_queries_have_the_gradients_of_the_published_ones(
    sides, depth, height, width, shifted
):
    torch.manual_seed(0)
    count = len(sides)
    both, value = leaf(2, 2 * count * depth, height, width), leaf(2, count * depth, height, width)
    exact_both, exact_value = in_double(both), in_double(value)
    results, expected = [torch.empty(0), torch.empty(0)], ([], [])
    for index, mine in enumerate((both, value)):
        groups = []
        for number, side in enumerate(sides):
            query, first = 2 * number * depth, number * depth
            of_value = query + depth if mine is both else first
            groups.append(WindowGroup(side, side // 2 if shifted else 0, query, of_value, first, 1, depth))
        results[index] = self_similarity_attention(both, mine, groups)
    for group, reused, side in zip(
        exact_both.chunk(count, 1), exact_value.chunk(count, 1), sides, strict=True
    ):
        mixed, maps = attend_as_published(group, None, side, side // 2 if shifted else 0)
        expected[0].append(mixed)
        expected[1].append(attend_as_published(reused, maps, side, side // 2 if shifted else 0)[0])
    exact = [torch.cat(parts, dim=1) for parts in expected]
    gradients = [torch.randn_like(result) for result in results]
    torch.autograd.backward(results, gradients)
    torch.autograd.backward(exact, [gradient.double() for gradient in gradients])
    pairs = [*zip(results, exact, strict=True), (both.grad, exact_both.grad), (value.grad, exact_value.grad)]
    for ours, reference in pairs:
        assert largest_difference(ours, reference) < 1e-5


def small_elan(n_share: int, backend: str) -> ELAN:
    torch.manual_seed(0)
    network = ELAN(
        scale=2, dim=15, depth=4, n_share=n_share, window_sizes=[2, 4, 8], expansion=2,
        shift_schedule="alternate", backend=backend, value_range=1.0,
    )  # fmt: skip
    return network.train()


@pytest.mark.parametrize("n_share", [0, 1, 3])
def test_elan_trains_with_the_gradients_of_the_reference_in_float64(n_share):
    network, exact = small_elan(n_share, "fused"), small_elan(n_share, "reference").double()
    image, target = torch.rand(2, 3, 13, 20), torch.rand(2, 3, 26, 40)
    F.l1_loss(network(image), target).backward()
    F.l1_loss(exact(image.double()), target.double()).backward()
    gradients = dict(exact.named_parameters())
    largest = max(float(parameter.grad.abs().max()) for parameter in gradients.values())
    for name, parameter in network.named_parameters():
        # biases before a batch norm have gradients of zero, so the network's largest is the measure
        assert float((parameter.grad - gradients[name].grad).abs().max()) < 1e-5 * largest, name
    for buffer, reference in zip(network.buffers(), exact.buffers(), strict=True):
        torch.testing.assert_close(buffer, reference.to(buffer.dtype), rtol=1e-5, atol=1e-6)


def test_auto_trains_with_the_kernels_in_float32_alone():
    network = small_elan(1, "auto")
    cpu = torch.device("cpu")
    assert network.resolved_backend(cpu) == "fused"
    assert network.resolved_backend(cpu, torch.float64) == "sdpa"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network.resolved_backend(cpu) == "sdpa"


def test_recomputed_activations_leave_the_gradients_as_they_are():
    network = small_elan(1, "fused")
    again = copy.deepcopy(network)
    again.use_activation_checkpointing(enabled=True)
    image = torch.rand(1, 3, 16, 16)
    for each in (network, again):
        each(image).square().mean().backward()
    for first, second in zip(network.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(first.grad, second.grad, rtol=0, atol=0)


def test_other_dtypes_are_refused_with_the_back_ends_that_take_them():
    with pytest.raises(ValueError, match=r"train in float32, got torch.float64.*sdpa or auto"):
        small_elan(1, "fused").double()(torch.rand(1, 3, 8, 8).double())


@pytest.mark.slow
def test_loss_after_100_steps_is_that_of_sdpa():
    """The mean of ten: one rounding of the initial weights changes a single one by as much as 1.5e-4."""
    losses = {"fused": [], "sdpa": []}
    for backend, of_backend in losses.items():
        network, generator = small_elan(1, backend), torch.Generator().manual_seed(1)
        optimizer = torch.optim.Adam(network.parameters(), 2e-4)
        for _ in range(100):
            coarse = torch.rand(2, 3, 4, 4, generator=generator)
            target = F.interpolate(coarse, size=(32, 32), mode="bicubic")
            loss = F.l1_loss(network(F.avg_pool2d(target, 2)), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            of_backend.append(loss.item())
    fused, sdpa = (sum(of_backend[-10:]) / 10 for of_backend in losses.values())
    assert fused == pytest.approx(sdpa, rel=1e-4)
