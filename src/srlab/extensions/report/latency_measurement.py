"""Measures the networks of a report in one interleaved run of the latency lab."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from srlab.app.presets import build_network
from srlab.counts.complexity import lr_size_for
from srlab.counts.probe import find_device
from srlab.extensions.lab.record import LabSettings
from srlab.extensions.lab.running import run_lab
from srlab.extensions.lab.subjects import Plan, Skipped, Subject
from srlab.extensions.report.comparison import Comparison, as_comparison
from srlab.extensions.report.latencies import (
    NETWORKS,
    LabLatencies,
    network_arguments,
    read_latencies,
    width_by_height,
)
from srlab.extensions.report.runs import Run
from srlab.models.network import AttentionNetwork, Network
from srlab.runs.records import write_json


def measure_latencies(
    runs: Comparison | Sequence[Run],
    record: Path,
    *,
    output_size: tuple[int, int] | None = None,
    lr_size: tuple[int, int] | None = None,
    repeats: int = 9,
    threads: int | None = None,
    device: str = "auto",
    command: str = "srlab.extensions.report.measure_latencies",
    progress: Callable[[str], None] = lambda _text: None,
) -> LabLatencies:
    """Time the network of every configuration in one run; rows with the same network share a measurement.

    Networks are built from the runs' configurations with random weights, which cost as much as trained ones:
    no checkpoint is needed. A network that fails is recorded, and the others are measured.

    Args:
        runs: a comparison, or runs to compare.
        record: file to write; its folder is created.
        output_size: height and width of the restored image; default: what the runs measured themselves.
        lr_size: of the low-resolution image, instead.
        repeats: rounds that count.
        threads: of the CPU; default: torch's.
        device: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``.
        command: written into the record, to repeat it.
        progress: called with a line before each step.

    Raises:
        ValueError: no network can be built or measured, they have several scales, the runs measured images
            of several sizes, or there is no such device.
        OSError: the record cannot be written.
        KeyboardInterrupt: after Ctrl-C, once the finished rounds are recorded.
    """
    comparison = as_comparison(runs)
    networks, plan, arguments = _plan(comparison)
    scale = _only("scale", {network.scale for network in networks.values()}, "x{}".format)
    if lr_size is None:
        size = output_size or _recorded_size(comparison.runs)
        lr_size = lr_size_for(next(iter(networks.values())), size)
    place = find_device(device)
    record.parent.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=record.parent).close()  # fails now, not after minutes of measuring
    measured = run_lab(
        networks,
        plan,
        LabSettings(
            step="inference", scale=scale, batch=1, warmup=2, repeats=repeats, baseline=plan.baseline
        ),
        lr_sizes=[lr_size],
        device=place,
        command=command,
        threads=threads,
        progress=progress,
    )
    write_json(record, {**asdict(measured), NETWORKS: arguments})
    if not measured.complete:
        raise KeyboardInterrupt
    return read_latencies(record)


def _plan(comparison: Comparison) -> tuple[dict[str, Network], Plan, dict[str, dict[str, Any]]]:
    """Networks by the label of the first row that has them, the baseline's first, each with its back end.

    Also their arguments by the labels of the lab.
    """
    networks: dict[str, Network] = {}
    subjects, failed, arguments_of = [], {}, {}
    for each in sorted(comparison.configurations, key=lambda each: each is not comparison.baseline):
        arguments = network_arguments(each.runs)
        if arguments is None or arguments in arguments_of.values():
            continue
        subject = Subject(each.label, None)
        try:
            networks[each.label] = build_network(arguments)
            if isinstance(networks[each.label], AttentionNetwork):
                subject = Subject(each.label, str(arguments.get("backend", "auto")))
            subjects.append(subject)
        except ValueError as error:
            failed[subject] = str(error)
        arguments_of[subject.label] = arguments
    if not arguments_of:
        raise ValueError("nothing to measure: no run has left the configuration of its network")
    if not subjects:
        first, reason = next(iter(failed.items()))
        raise ValueError(f"none of the {len(failed)} networks can be built; {first.model}: {reason}")
    skipped = tuple(Skipped(subject.label, reason) for subject, reason in failed.items())
    return networks, Plan(tuple(subjects), subjects[0].label, skipped), arguments_of


def _recorded_size(runs: Sequence[Run]) -> tuple[int, int]:
    """Of the restored images that all runs measured or would measure."""
    sizes = [run.costs.output_size or run.config.get("latency.output_size") for run in runs]
    return _only("image size", {tuple(size) for size in sizes if size}, width_by_height)


def _only(what: str, values: set[Any], show: Callable[[Any], str]) -> Any:
    if len(values) != 1:
        listed = " and ".join(map(show, sorted(values))) or "none"
        raise ValueError(
            f"the lab measures one {what} at a time, these runs have {len(values)} ({listed}): report them "
            "apart, or give one image size with --size or --output"
        )
    return next(iter(values))
