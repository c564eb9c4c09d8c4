"""Everything that a network costs: one row beside its scores."""

from dataclasses import dataclass

import torch

from srlab.models.network import Network
from srlab.profiling.complexity import OUTPUT_SIZE, ParameterReport, count_parameters, multiply_adds
from srlab.profiling.latency import LatencyReport, measure_latency
from srlab.profiling.memory import MemoryReport, measure_peak_memory

__all__ = ["Costs", "measure_costs"]


@dataclass(frozen=True)
class Costs:
    """Of one network.

    Attributes:
        parameters: as the official formulation has them, and as held.
        multiply_adds: for an image restored to 1280x720, as papers count them.
        output_size: height and width of the restored image that latency and memory are for.
        latency: of one float32 image on one device.
        memory: likewise.
    """

    parameters: ParameterReport
    multiply_adds: int
    output_size: tuple[int, int]
    latency: LatencyReport
    memory: MemoryReport

    def summary(self) -> dict[str, float | int | None]:
        """Flat numbers for loggers, under names that carry their units."""
        height, width = self.output_size
        return {
            "params/all": self.parameters.all,
            "params/trainable": self.parameters.trainable,
            f"multiply_adds/{OUTPUT_SIZE[0]}x{OUTPUT_SIZE[1]}": self.multiply_adds,
            f"latency_ms/{height}x{width}": self.latency.median_ms,
            f"latency_ms_p10/{height}x{width}": self.latency.p10_ms,
            f"latency_ms_p90/{height}x{width}": self.latency.p90_ms,
            f"peak_memory_mib/{height}x{width}": self.memory.peak_mib,
        }


def measure_costs(
    network: Network, *, output_size: tuple[int, int], device: torch.device | str, warmup: int, repeats: int
) -> Costs:
    """Count parameters and multiply-adds; time and weigh restoring ``output_size`` (height, width) once.

    Sides are rounded up to the scale. The network is left as it was.
    """
    height, width = (-(-side // network.scale) for side in output_size)
    return Costs(
        parameters=count_parameters(network),
        multiply_adds=multiply_adds(network),
        output_size=output_size,
        latency=measure_latency(
            network, (height, width), device=device, dtype=torch.float32, warmup=warmup, repeats=repeats
        ),
        memory=measure_peak_memory(network, (height, width), device=device, dtype=torch.float32),
    )
