"""How far rounding moves a result: the tolerance when two implementations of one function are compared.

How far depends on the condition of the function, which a number in a test cannot know: the same weights, made
by another processor's random numbers, or summed in another order, may be a hundred times as sensitive. So it
is measured each time, by Monte Carlo arithmetic (Parker, "Monte Carlo Arithmetic: exploiting randomness in
floating-point arithmetic", UCLA CSD-970002, 1997): the reference runs once in float64 as it is, and again
with weights, inputs and the result of every operation, backward passes included, off by a unit of the tested
dtype at random: once, or twice where a result has too few values for one draw to tell. A sum of n products in
floating point is the exact sum of factors that are off by about sqrt(n) such units (Higham, "Accuracy and
Stability of Numerical Algorithms", 2nd edition, 2002, sections 2.8 and 3.1); that is the only factor between
what is measured and what is allowed.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

# The longest sums of the networks in the tests have about 1,000 products (9 taps of 120 channels, windows of
# 256 tokens): sqrt(1024) for each of the two implementations that are compared.
_ROUNDINGS = 2 * 32
# A prime, so that rows and planes of a large tensor meet other factors.
_FACTORS = 1_000_003
# What moves values rounds nothing.
_EXACT = (
    "cat",
    "clone",
    "constant_pad_nd",
    "im2col",
    "index",
    "reflection_pad2d",
    "roll",
    "stack",
    "_to_copy",
)
# Beyond this share of the largest value rounding alone would hide an error: another input is needed.
_TELLING = 0.01

#: Tensors that a network computes from inputs: ``compute(network, *inputs)``; the first is its output.
Compute = Callable[..., Sequence[Tensor]]


def settle_statistics(network: nn.Module, image: Tensor) -> nn.Module:
    """Batch norms see ``image`` as a batch, and the network evaluates from then on, as after training.

    Without, ELAN's unscaled logits reach 1e4 in a fresh network: rounding decides which token wins.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over all batches seen: of this one alone
    if norms:
        with torch.no_grad():
            network.train()(image)
    return network.eval()


def outputs_of(network: nn.Module, *inputs: Tensor) -> list[Tensor]:
    """What the network gives without gradients."""
    with torch.no_grad():
        return [network(*inputs)]


def outputs_and_gradients(network: nn.Module, image: Tensor) -> list[Tensor]:
    """Output, gradients of its sum of squares, and the statistics that the pass leaves."""
    image = image.clone().requires_grad_()
    output = network(image)
    gradients = torch.autograd.grad(output.square().sum(), [image, *network.parameters()])
    return [output.detach(), *gradients, *network.buffers()]


def assert_equal_up_to_rounding(
    results: Sequence[Tensor], compute: Compute, network: nn.Module, *inputs: Tensor
) -> None:
    """Results of another implementation, or dtype, are those of the reference.

    Args:
        results: of the implementation that is tested; the coarsest of their dtypes is that of its arithmetic.
        compute: the reference, ``compute(network, *inputs)``.
        network: in float64; it is left as it is.
        inputs: in float64.
    """
    unit = max(torch.finfo(result.dtype).eps for result in results if result.is_floating_point())
    exact = compute(copy.deepcopy(network) if network.training else network, *inputs)
    draws = 2 if min(result.numel() for result in results) < 64 else 1
    moved = [_moved(compute, network, inputs, unit, seed) for seed in range(draws)]
    for index, (result, expected, *others) in enumerate(zip(results, exact, *moved, strict=True)):
        largest = expected.abs().max().item()
        farthest = max((other - expected).abs().max().item() for other in others)
        allowed = _ROUNDINGS * max(farthest, unit * largest)
        assert index or allowed <= _TELLING * largest, f"rounding alone moves {largest} by {allowed}"
        assert_close(result.double(), expected.double(), rtol=0, atol=allowed)


def _moved(
    compute: Compute, network: nn.Module, inputs: Sequence[Tensor], unit: float, seed: int
) -> Sequence[Tensor]:
    """Results with weights, inputs and everything computed off by a unit at random."""
    with _RoundingAtRandom(unit, seed) as rounding:
        return compute(rounding.of_network(network), *map(rounding.of, inputs))


class _RoundingAtRandom(TorchDispatchMode):
    """Inside, every new floating-point tensor is off by ``unit`` at random."""

    def __init__(self, unit: float, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)
        steps = torch.randint(-1, 2, (_FACTORS,), generator=self.generator)
        self.factors = 1 + unit * steps.double()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """What ``func`` gives, rounded; views, and what is written in place, keep their memory."""
        results = func(*args, **(kwargs or {}))
        returns = func._schema.returns
        if func.overloadpacket.__name__ in _EXACT or any(each.alias_info is not None for each in returns):
            return results
        return tree_map_only(Tensor, self.of, results)

    def of(self, tensor: Tensor) -> Tensor:
        """Each value larger or smaller by one unit, or as it is."""
        if not tensor.is_floating_point() or not tensor.numel():
            return tensor
        # drawn once and read from a random place on: drawing is slower than most of what is rounded
        count = tensor.numel()
        factors = self.factors if count < _FACTORS else self.factors.repeat(count // _FACTORS + 1)
        start = int(torch.randint(len(factors) - count, (), generator=self.generator))
        return tensor * factors[start : start + count].view(tensor.shape).to(tensor.dtype)

    def of_network(self, network: nn.Module) -> nn.Module:
        """A copy with other weights and statistics."""
        network = copy.deepcopy(network)
        with torch.no_grad():
            for tensor in (*network.parameters(), *network.buffers()):
                tensor.copy_(self.of(tensor))
        return network
