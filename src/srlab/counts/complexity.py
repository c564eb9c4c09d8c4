"""Size and arithmetic of a network: of its official formulation, as papers count, and as executed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from srlab.checkpoints.layouts import official_layout
from srlab.counts import operations
from srlab.counts.operations import Call
from srlab.models.network import AttentionNetwork, Network

#: Height and width of the upsampled image that papers count for.
OUTPUT_SIZE = (720, 1280)

# What layouts call extra multiply-adds are 1x1 convolutions of RGB images: so many for each output element.
_EXTRA_PER_OUTPUT = 3


@dataclass(frozen=True)
class ParameterReport:
    """Numbers of parameters: all and trainable in the official formulation, and what is really held."""

    all: int
    trainable: int
    held: int


@dataclass(frozen=True)
class Counts:
    """What can be counted without running the network.

    Attributes:
        parameters: as the official formulation has them, and as held.
        multiply_adds: for an image restored to 1280x720, of the official formulation.
        executed_multiply_adds: likewise, of what the back end in use executes on the device.
        activations: likewise, elements of the results of convolutions and matrix products, official.
        uncounted: operators that multiply-adds leave out of one forward pass; elements of their results.
    """

    parameters: ParameterReport
    multiply_adds: int
    executed_multiply_adds: int
    activations: int
    uncounted: Mapping[str, int]


def count(network: Network, *, device: torch.device | str) -> Counts:
    """Everything that can be counted, from shapes alone; the network is left as it was."""
    calls = official_calls(network, OUTPUT_SIZE)
    return Counts(
        parameters=count_parameters(network),
        multiply_adds=multiply_adds(network, calls=calls),
        executed_multiply_adds=executed_multiply_adds(network, device=device),
        activations=activations(network, calls=calls),
        uncounted=operations.uncounted_operations(calls),
    )


def count_parameters(network: Network) -> ParameterReport:
    """Count parameters; official constants that we derive are in ``all`` but not in ``held``."""
    held = sum(parameter.numel() for parameter in network.parameters())
    trainable = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    layout = official_layout(type(network))
    constants = layout.constants(network).values() if layout else ()
    return ParameterReport(held + sum(tensor.numel() for tensor in constants), trainable, held)


def multiply_adds(
    network: Network, output_size: tuple[int, int] = OUTPUT_SIZE, *, calls: Iterable[Call] | None = None
) -> int:
    """Multiply-adds of the official formulation for one image, padding to windows included.

    Convolutions and matrix products are counted, attention with both of its products, whatever back end the
    network is set to; :class:`Counts` lists the rest. Only shapes are computed, on the meta device.

    Args:
        network: any, on any device; it is left as it is.
        output_size: height and width of the upsampled image; low-resolution sides are rounded up.
        calls: what :func:`official_calls` returned, if that is known.
    """
    counted = sum(map(operations.multiply_adds_of, calls or official_calls(network, output_size)))
    return counted + extra_multiply_adds(network, lr_size_for(network, output_size))


def executed_multiply_adds(
    network: Network, output_size: tuple[int, int] = OUTPUT_SIZE, *, device: torch.device | str | None = None
) -> int:
    """Multiply-adds that our implementation executes for one image with its back end, counted alike.

    They differ from :func:`multiply_adds` where a back end computes the same function in another way: ELAN's
    ``sdpa`` recomputes attention in modules that share maps, and moves pixels where the official code
    convolves. Fused attention, ``sdpa`` and ``flex``, counts as its two matrix products; zero channels that
    some of its kernels add do not count. Products that a back end adds up one by one (``addcmul``, in ELSA's
    ``fused``) count like the matrix products that they replace.

    Args:
        network: any; it is left as it is.
        output_size: as in :func:`multiply_adds`.
        device: where back end ``auto`` is to be resolved; None: where the parameters lie.
    """
    backend = None
    if isinstance(network, AttentionNetwork):
        there = next(network.parameters()).device if device is None else torch.device(device)
        backend = counted_backend(network, network.resolved_backend(there))
    calls = operations.record_calls(network, lr_size_for(network, output_size), backend=backend)
    return sum(map(operations.multiply_adds_of, calls))


def activations(
    network: Network,
    output_size: tuple[int, int] = OUTPUT_SIZE,
    *,
    convolutions_only: bool = False,
    calls: Iterable[Call] | None = None,
) -> int:
    """Elements of the results of all convolutions and matrix products of the official formulation.

    As fvcore's ActivationCountAnalysis, after Radosavovic et al., "Designing Network Design Spaces" (arXiv
    2003.13678), who count convolutions alone. Maps and results of attention are included, results of
    normalisation, soft-max and activation functions are not.

    Args:
        network: any; it is left as it is.
        output_size: as in :func:`multiply_adds`.
        convolutions_only: leave matrix products out, as the NTIRE challenges do. Their hook sees
            ``nn.Conv2d`` alone; here convolutions outside of modules count, too.
        calls: as in :func:`multiply_adds`.
    """
    total = sum(
        call.result.numel()
        for call in calls or official_calls(network, output_size)
        if operations.is_convolution(call) or (operations.is_product(call) and not convolutions_only)
    )
    return total + extra_multiply_adds(network, lr_size_for(network, output_size)) // _EXTRA_PER_OUTPUT


def official_calls(network: Network, output_size: tuple[int, int]) -> list[Call]:
    """Operators of the official formulation except those of :func:`extra_multiply_adds`."""
    backend = "reference" if isinstance(network, AttentionNetwork) else None
    return operations.record_calls(network, lr_size_for(network, output_size), backend=backend)


def extra_multiply_adds(network: Network, lr_size: tuple[int, int]) -> int:
    """What the official code executes for an image of ``lr_size`` (height, width) and ours does not."""
    layout = official_layout(type(network))
    return layout.extra_multiply_adds(network, *lr_size) if layout else 0


def lr_size_for(network: Network, output_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the smallest image that is upsampled to at least ``output_size``."""
    height, width = (-(-side // network.scale) for side in output_size)
    return height, width


def counted_backend(network: AttentionNetwork, backend: str) -> str:
    """The back end that executes the arithmetic of ``backend`` in operators that can be counted.

    ``flex`` needs a compiler, and kernels are not PyTorch's operators: both compute the products of ``sdpa``.
    """
    return backend if backend in network.plain_backends and backend != "flex" else "sdpa"
