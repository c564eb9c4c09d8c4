"""How fast training samples arrive on the device, and where the time of one goes."""

import copy
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor

from srlab.counts.probe import device_name, synchronize
from srlab.data.datamodule import SuperResolutionData
from srlab.data.loader import PREFETCHED, Loader
from srlab.data.sampling import GlobalBatchSampler
from srlab.data.training_crops import DegradeOn, TrainingCrops, unset_batch
from srlab.extensions.lab.latency import Spread, interleaved, spread_of

__all__ = ["LoadingReport", "measure_loading"]

# Stages of a sample in the sampler, methods of ``TrainingCrops``; and what comes after it.
_SAMPLER_STAGES = ("draw", "read", "degrade", "turn")
_HAND_OVER = "hand over"
_ON_DEVICE = "on device"


@dataclass(frozen=True)
class LoadingReport:
    """Samples a second and microseconds a sample, medians over rounds, with their conditions."""

    device: str
    torch_version: str
    processor: str
    cores: int
    """That this process may use."""
    images: int
    scale: int
    patch_size: int
    batch_size: int
    degradation: str
    degrade_on: DegradeOn
    batches: int
    """Of each measurement, after those that the workers had made ahead."""
    rounds: int
    samples_per_s: dict[int, Spread]
    """On the device and ready for the network, by the number of loader processes, 0 being this one."""
    split_us: dict[str, Spread]
    """Of one sample, stage by stage, each alone: ``draw`` its place and turn, ``read`` the window from the
    store, ``degrade``, ``turn``, ``collate`` (the batch's memory and all else in the sampler); ``hand over``
    from a loader process, through shared memory; ``pin`` (CUDA alone), ``transfer`` to the device, ``on
    device`` what ``data.degrade_on=device`` leaves to it. A stage that does not occur is absent."""

    def __str__(self) -> str:
        lines = [
            f"workers {count}: {rate.median:.0f} samples/s (p10 {rate.p10:.0f}, p90 {rate.p90:.0f})"
            for count, rate in self.samples_per_s.items()
        ]
        stages = ", ".join(f"{name} {time_us.median:.1f}" for name, time_us in self.split_us.items())
        return "\n".join([*lines, f"us a sample: {stages}"])


def measure_loading(
    data: SuperResolutionData,
    *,
    workers: Sequence[int],
    batches: int,
    device: torch.device,
    rounds: int = 5,
) -> LoadingReport:
    """Measure the training samples of ``data``, round by round, as one device would get them.

    Args:
        data: with training images; its number of workers does not matter.
        workers: numbers of loader processes, each distinct.
        batches: of ``data.batch_size`` in each measurement.
        device: where batches go.
        rounds: measurements of each kind, in turn.

    Raises:
        ValueError: for counts below those that make sense, or data without training images.
    """
    _check(workers, batches, rounds)
    crops = data.training_crops
    measure: dict[str, Callable[[int], dict[str, float]]] = {
        str(count): lambda start, count=count: {
            str(count): _samples_per_s(data, count, start, batches, device)
        }
        for count in workers
    }
    measure["split"] = lambda start: _split_us(data, start, batches, device)
    found: dict[str, list[float]] = {}
    for turn, order in enumerate(interleaved(list(measure), rounds=rounds)):
        for name in order:
            for key, value in measure[name](turn * batches).items():
                found.setdefault(key, []).append(value)
    spreads = {key: spread_of(values) for key, values in found.items()}
    return LoadingReport(
        device=device_name(device),
        torch_version=torch.__version__,
        processor=device_name(torch.device("cpu")),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        images=len(crops.images),
        scale=data.scale,
        patch_size=data.patch_size,
        batch_size=data.batch_size,
        degradation=type(data.degradation).__name__,
        degrade_on=data.degrade_on,
        batches=batches,
        rounds=rounds,
        samples_per_s={count: spreads.pop(str(count)) for count in workers},
        split_us=spreads,
    )


def _samples_per_s(
    data: SuperResolutionData, workers: int, start: int, batches: int, device: torch.device
) -> float:
    """From the start of batch ``start`` on; what workers had made ahead does not count."""
    ahead = max(1, workers * PREFETCHED)
    with _loader(
        data, data.training_crops.batch, start, ahead + batches, workers, pin=device.type == "cuda"
    ) as loader:
        for _ in range(ahead):
            _arrive(data.training_crops, next(loader), device)
        synchronize(device)
        begin = time.perf_counter()
        for batch in loader:
            _arrive(data.training_crops, batch, device)
        synchronize(device)
        return batches * data.batch_size / (time.perf_counter() - begin)


def _split_us(data: SuperResolutionData, start: int, batches: int, device: torch.device) -> dict[str, float]:
    """Microseconds of a sample in each stage."""
    clock = _Clock()
    crops = clock.timed(data.training_crops)
    samples = batches * data.batch_size
    for step in range(start, start + batches):
        indices = range(step * data.batch_size, (step + 1) * data.batch_size)
        with clock.stage("all"):
            batch = crops.batch(indices)
        if device.type == "cuda":
            with clock.stage("pin"):
                batch = {name: part.pin_memory() for name, part in batch.items()}
        if device.type != "cpu":
            with clock.stage("transfer", device):
                batch = {name: part.to(device) for name, part in batch.items()}
        if data.degrade_on == "device":
            with clock.stage(_ON_DEVICE, device):
                crops.finish(batch)
    sampler = {name: clock.seconds[name] for name in _SAMPLER_STAGES if name in clock.seconds}
    sampler["collate"] = clock.seconds.pop("all") - sum(sampler.values())
    after = {name: seconds for name, seconds in clock.seconds.items() if name not in sampler}
    after = {_HAND_OVER: _hand_over_s(data, crops.batch([0]), batches), **after}
    return {name: seconds / samples * 1e6 for name, seconds in {**sampler, **after}.items()}


class _Clock:
    """Sums the seconds of named stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, crops: TrainingCrops) -> TrainingCrops:
        """A copy of the sampler that goes the same way, its stages timed; the sampler has no timers."""
        timed = copy.copy(crops)
        for name in _SAMPLER_STAGES:
            setattr(timed, name, self._around(name, getattr(crops, name)))
        return timed

    def _around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*args: Any) -> Any:
            with self.stage(name):
                return function(*args)

        return timed

    @contextmanager
    def stage(self, name: str, device: torch.device | None = None) -> Iterator[None]:
        """Add the time until the device, if any, has nothing left to do."""
        begin = time.perf_counter()
        yield
        if device is not None:
            synchronize(device)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin


def _hand_over_s(data: SuperResolutionData, sample: dict[str, Tensor], batches: int) -> float:
    """Seconds that one loader process takes to hand over ``batches`` that are there."""
    shapes = {name: (data.batch_size, *part.shape[1:]) for name, part in sample.items()}
    # a function that a process finds without importing the frameworks of this module
    make = partial(unset_batch, shapes)
    with _loader(data, make, 0, PREFETCHED + batches, workers=1, pin=False) as loader:
        for _ in range(PREFETCHED):
            next(loader)
        begin = time.perf_counter()
        for _ in loader:
            pass
        return time.perf_counter() - begin


@contextmanager
def _loader(
    data: SuperResolutionData,
    make: Callable[[Sequence[int]], dict[str, Tensor]],
    start: int,
    batches: int,
    workers: int,
    pin: bool,
) -> Iterator[Iterator[dict[str, Tensor]]]:
    """An iterator over one device's batches whose processes end with it."""
    sampler = GlobalBatchSampler(
        batch_size=data.batch_size,
        num_replicas=1,
        rank=0,
        accumulate=1,
        start_step=start,
        num_steps=start + batches,
    )
    yield iter(Loader(make, batches=sampler, num_workers=workers, pin_memory=pin))


def _arrive(crops: TrainingCrops, batch: dict[str, Tensor], device: torch.device) -> None:
    crops.finish({name: part.to(device, non_blocking=True) for name, part in batch.items()})


def _check(workers: Sequence[int], batches: int, rounds: int) -> None:
    if not workers or min(workers) < 0 or len(set(workers)) < len(workers):
        raise ValueError(f"workers must be distinct numbers from 0 on, at least one, got {list(workers)}")
    if batches < 1 or rounds < 1:
        raise ValueError(f"batches and rounds must be at least 1, got batches={batches}, rounds={rounds}")
