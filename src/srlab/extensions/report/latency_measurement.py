"""Measures the networks of a report in one interleaved run of the latency lab."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlab.extensions.report.comparison import Comparison, as_comparison
from srlab.extensions.report.latencies import (
    NETWORKS,
    LabLatencies,
    network_arguments,
    read_latencies,
    width_by_height,
)
from srlab.extensions.report.runs import Run
from srlab.runs.records import write_json

if TYPE_CHECKING:
    from srlab.extensions.lab.subjects import Plan
    from srlab.models.network import Network


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
    from srlab.counts.probe import find_device
    from srlab.extensions.lab.record import LabSettings
    from srlab.extensions.lab.running import run_lab

    comparison = as_comparison(runs)
    arguments = _distinct_networks(comparison)
    networks, plan, labels = _plan(arguments)
    scale = _only("scale", {network.scale for network in networks.values()}, "x{}".format)
    lr_size = lr_size or _lr_size(comparison.runs, output_size, scale)
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
    content = {label: arguments[name] for label, name in labels.items()}
    write_json(record, {**measured.as_json(), NETWORKS: content})
    if not measured.complete:
        raise KeyboardInterrupt
    return read_latencies(record)


def _distinct_networks(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Constructor arguments by the label of the first row that has them; the baseline's come first."""
    found: dict[str, dict[str, Any]] = {}
    for each in sorted(comparison.configurations, key=lambda each: each is not comparison.baseline):
        arguments = network_arguments(each.runs)
        if arguments is not None and arguments not in found.values():
            found[each.label] = arguments
    if not found:
        raise ValueError("nothing to measure: no run has left the configuration of its network")
    return found


def _plan(described: Mapping[str, dict[str, Any]]) -> "tuple[dict[str, Network], Plan, dict[str, str]]":
    """Networks by name; each once, with the back end of its runs; and the names by the lab's labels."""
    from srlab.app.presets import build_network
    from srlab.extensions.lab.subjects import Plan, Skipped, Subject
    from srlab.models.network import AttentionNetwork

    networks, subjects, skipped, labels = {}, [], [], {}
    for name, arguments in described.items():
        subject = Subject(name, None)
        try:
            networks[name] = build_network(arguments)
            if isinstance(networks[name], AttentionNetwork):
                subject = Subject(name, str(arguments.get("backend", "auto")))
            subjects.append(subject)
        except ValueError as error:
            skipped.append(Skipped(subject.label, str(error)))
        labels[subject.label] = name
    if not subjects:
        first = skipped[0]
        raise ValueError(
            f"none of the {len(skipped)} networks can be built; {labels[first.subject]}: {first.reason}"
        )
    return networks, Plan(tuple(subjects), subjects[0].label, tuple(skipped)), labels


def _lr_size(runs: Sequence[Run], output_size: tuple[int, int] | None, scale: int) -> tuple[int, int]:
    """Of the images that restore to ``output_size``, or to what all runs measured or would measure."""
    sizes = [run.costs.output_size or run.config.get("latency.output_size") for run in runs]
    known = {tuple(size) for size in sizes if size}
    height, width = output_size or _only("image size", known, width_by_height)
    return -(-height // scale), -(-width // scale)


def _only(what: str, values: "set[Any]", show: Callable[[Any], str]) -> Any:
    if len(values) != 1:
        listed = " and ".join(map(show, sorted(values))) or "none"
        raise ValueError(
            f"the lab measures one {what} at a time, these runs have {len(values)} ({listed}): report them "
            "apart, or give one image size with --size or --output"
        )
    return next(iter(values))
