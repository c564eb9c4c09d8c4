"""How many training samples per second a loader delivers, and whether it or the network is slower."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from srlab.counts.probe import synchronize
from srlab.data.datamodule import SuperResolutionData
from srlab.data.loader import PREFETCHED, Loader
from srlab.data.sampling import GlobalBatchSampler
from srlab.extensions.lab.latency import Spread, interleaved, spread_of
from srlab.extensions.lab.record import LabRecord

_BATCHES, _ROUNDS = 20, 5  # batches timed for each number of workers in each round


def with_loading(
    record: LabRecord, data: SuperResolutionData, workers: Sequence[int], device: torch.device
) -> LabRecord:
    """A finished record with the loader's rates, or with a note that says why there are none."""
    try:
        rates = measure_loading(data, workers=workers, device=device)
    except KeyboardInterrupt:
        return replace(record, complete=False, notes=("interrupted: no loader", *record.notes))
    except Exception as error:  # whatever failed, the measured steps must not be lost
        note = f"the loader could not be measured: {type(error).__name__}: {' '.join(str(error).split())}"
        return replace(record, notes=(*record.notes, note))
    return replace(
        record, loading=rates, notes=(*record.notes, *bottlenecks(rates, record.sizes[0]["subjects"]))
    )


def measure_loading(
    data: SuperResolutionData, *, workers: Sequence[int], device: torch.device
) -> dict[int, Spread]:
    """Samples per second on the device, ready for the network, by number of loader processes (0: none).

    Round by round, every number of workers takes its turn.

    Args:
        data: with training images; its own number of workers does not matter.
        workers: numbers of loader processes, each distinct.
        device: where batches go.

    Raises:
        ValueError: data without training images.
    """
    rates: dict[int, list[float]] = {count: [] for count in workers}
    for turn, order in enumerate(interleaved(workers, rounds=_ROUNDS)):
        for count in order:
            rates[count].append(_samples_per_second(data, count, turn * _BATCHES, device))
    return {count: spread_of(values) for count, values in rates.items()}


def _samples_per_second(data: SuperResolutionData, workers: int, start: int, device: torch.device) -> float:
    """From batch ``start`` on; batches that workers had prefetched do not count."""
    crops, prefetched = data.training_crops, max(1, workers * PREFETCHED)
    sampler = GlobalBatchSampler(
        batch_size=data.batch_size, start_step=start, num_steps=start + prefetched + _BATCHES
    )
    loader = Loader(crops.batch, batches=sampler, num_workers=workers, pin_memory=device.type == "cuda")
    begin = 0.0
    for number, batch in enumerate(loader, start=1):
        crops.finish({name: part.to(device, non_blocking=True) for name, part in batch.items()})
        if number == prefetched:
            synchronize(device)
            begin = time.perf_counter()
    synchronize(device)
    return _BATCHES * data.batch_size / (time.perf_counter() - begin)


def bottlenecks(rates: dict[int, Spread], subjects: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The rates, and one sentence for each timed subject: which is slower, and by how much.

    Args:
        rates: of the loader, by its number of workers; the fastest counts.
        subjects: training steps; a sample is one crop of the batch.
    """
    for workers, rate in rates.items():
        yield f"workers {workers}: {rate.median:.0f} samples/s (p10 {rate.p10:.0f}, p90 {rate.p90:.0f})"
    workers = max(rates, key=lambda number: rates[number].median)
    loader = rates[workers].median
    where = f"{workers} worker{'s' if workers > 1 else ''}" if workers else "main process"
    for each in subjects:
        network = each["images_per_second"]
        if network is not None:
            slower, ratio = (
                ("network", loader / network) if loader >= network else ("loader", network / loader)
            )
            yield (
                f"loader {_rate(loader)} crops/s ({where}), network {_rate(network)} crops/s "
                f"({each['label']}): the {slower} is the bottleneck ({_rate(ratio)} x)"
            )


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
