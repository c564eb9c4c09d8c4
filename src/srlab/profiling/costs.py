"""Everything that a network costs, measured at one output size: one row beside its scores."""

from dataclasses import dataclass

import torch

from srlab.models.network import Network
from srlab.profiling.complexity import ParameterReport, count_parameters, multiply_adds
from srlab.profiling.latency import LatencyReport, measure_latency
from srlab.profiling.memory import MemoryReport, measure_peak_memory

__all__ = ["Costs", "measure_costs"]


@dataclass(frozen=True)
class Costs:
    """Of one network at one output size; latency and memory are of one float32 image on one device."""

    output_size: tuple[int, int]
    parameters: ParameterReport
    multiply_adds: int
    latency: LatencyReport
    memory: MemoryReport

    def summary(self) -> dict[str, float | int | None]:
        """Flat numbers for loggers, under names that carry their units."""
        height, width = self.output_size
        return {
            "params/all": self.parameters.all,
            "params/trainable": self.parameters.trainable,
            f"multiply_adds/{height}x{width}": self.multiply_adds,
            f"latency_ms/{height}x{width}": self.latency.median_ms,
            f"latency_ms_p10/{height}x{width}": self.latency.p10_ms,
            f"latency_ms_p90/{height}x{width}": self.latency.p90_ms,
            f"peak_memory_mib/{height}x{width}": self.memory.peak_mib,
        }


def measure_costs(
    network: Network, *, output_size: tuple[int, int], device: torch.device | str, warmup: int, repeats: int
) -> Costs:
    """Count and time one forward pass that restores ``output_size`` (height, width).

    Sides are rounded up to the scale. The network is left as it was.
    """
    height, width = (-(-side // network.scale) for side in output_size)
    return Costs(
        output_size=output_size,
        parameters=count_parameters(network),
        multiply_adds=multiply_adds(network, output_size=output_size),
        latency=measure_latency(
            network, (height, width), device=device, dtype=torch.float32, warmup=warmup, repeats=repeats
        ),
        memory=measure_peak_memory(network, (height, width), device=device, dtype=torch.float32),
    )
