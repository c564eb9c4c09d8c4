"""Everything that a network costs: one row beside its scores."""

from dataclasses import dataclass

import torch

from srlab.counts.complexity import (
    OUTPUT_SIZE,
    ParameterReport,
    activations,
    count_parameters,
    executed_multiply_adds,
    lr_size_for,
    multiply_adds,
    uncounted_operations,
)
from srlab.counts.operations import UncountedOperation
from srlab.extensions.lab.latency import LatencyReport, measure_latency
from srlab.extensions.lab.memory import MemoryReport, measure_peak_memory
from srlab.models.network import Network

__all__ = ["Costs", "measure_costs"]


@dataclass(frozen=True)
class Costs:
    """Of one network.

    Attributes:
        parameters: as the official formulation has them, and as held.
        multiply_adds: for an image restored to 1280x720, of the official formulation.
        executed_multiply_adds: likewise, of what the back end in use executes on the device.
        activations: likewise, elements of the results of convolutions and matrix products, official.
        uncounted: what multiply-adds leave out of one forward pass.
        output_size: height and width of the restored image that latency and memory are for.
        latency: of one float32 image on one device.
        memory: likewise.
    """

    parameters: ParameterReport
    multiply_adds: int
    executed_multiply_adds: int
    activations: int
    uncounted: tuple[UncountedOperation, ...]
    output_size: tuple[int, int]
    latency: LatencyReport
    memory: MemoryReport

    def summary(self) -> dict[str, float | int | None]:
        """Flat numbers for loggers, under names that carry their units."""
        height, width = self.output_size
        counted_at = f"{OUTPUT_SIZE[0]}x{OUTPUT_SIZE[1]}"
        return {
            "params/all": self.parameters.all,
            "params/trainable": self.parameters.trainable,
            f"multiply_adds/{counted_at}": self.multiply_adds,
            f"executed_multiply_adds/{counted_at}": self.executed_multiply_adds,
            f"activations/{counted_at}": self.activations,
            f"latency_ms/{height}x{width}": self.latency.median_ms,
            f"latency_ms_p10/{height}x{width}": self.latency.p10_ms,
            f"latency_ms_p90/{height}x{width}": self.latency.p90_ms,
            f"peak_memory_mib/{height}x{width}": self.memory.peak_mib,
        }


def measure_costs(
    network: Network, *, output_size: tuple[int, int], device: torch.device | str, warmup: int, repeats: int
) -> Costs:
    """Count what can be counted; time and weigh restoring ``output_size`` (height, width) once.

    Sides are rounded up to the scale. The network is left as it was.
    """
    lr_size = lr_size_for(network, output_size)
    return Costs(
        parameters=count_parameters(network),
        multiply_adds=multiply_adds(network),
        executed_multiply_adds=executed_multiply_adds(network, device=device),
        activations=activations(network),
        uncounted=tuple(uncounted_operations(network)),
        output_size=output_size,
        latency=measure_latency(
            network, lr_size, device=device, dtype=torch.float32, warmup=warmup, repeats=repeats
        ),
        memory=measure_peak_memory(network, lr_size, device=device, dtype=torch.float32),
    )
