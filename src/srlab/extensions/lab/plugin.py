"""Adds latency and peak memory to the costs that train.py and evaluate.py show."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from srlab.tasks.columns import METERS, Meter, MeterSettings, Reading, listed

if TYPE_CHECKING:
    from srlab.models.network import Network


def _latency(network: "Network", settings: MeterSettings) -> Reading:
    import torch

    from srlab.counts.complexity import lr_size_for
    from srlab.extensions.lab.latency import measure_latency

    report = measure_latency(
        network,
        lr_size_for(network, settings.output_size),
        device=settings.device,
        dtype=torch.float32,
        warmup=settings.warmup,
        repeats=settings.repeats,
    )
    size = _size(settings)
    return Reading(
        record={"latency": asdict(report)},
        fields={
            "latency_median_ms": report.median_ms,
            "latency_p10_ms": report.p10_ms,
            "latency_p90_ms": report.p90_ms,
            "latency_busy": report.load.is_busy,
        },
        cells={"latency ms (p10 to p90)": report.shown},
        summary={
            f"latency_ms/{size}": report.median_ms,
            f"latency_ms_p10/{size}": report.p10_ms,
            f"latency_ms_p90/{size}": report.p90_ms,
        },
        lines=(f"latency of one restored image: {listed({**asdict(report), 'load': str(report.load)})}",),
        remark=report.remark,
        value=report.median_ms,
    )


def _memory(network: "Network", settings: MeterSettings) -> Reading:
    import torch

    from srlab.counts.complexity import lr_size_for
    from srlab.extensions.lab.memory import measure_peak_memory

    lr_size = lr_size_for(network, settings.output_size)
    report = measure_peak_memory(network, lr_size, device=settings.device, dtype=torch.float32)
    peak = report.peak_mib
    return Reading(
        record={"memory": asdict(report)},
        fields={"peak_memory_mib": peak},
        cells={"peak memory (MiB)": "–" if peak is None else f"{peak:.0f}"},
        summary={f"peak_memory_mib/{_size(settings)}": peak},
        lines=(f"memory of one restored image: {listed(asdict(report))}",),
        value=peak,
    )


def _size(settings: MeterSettings) -> str:
    height, width = settings.output_size
    return f"{height}x{width}"


METERS.register("latency", Meter("latency", _latency))
METERS.register("memory", Meter("memory", _memory))
