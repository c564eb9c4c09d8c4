"""Measures the networks of a report in one interleaved run of the latency lab."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlab.extensions.report.comparison import Comparison, as_comparison
from srlab.extensions.report.latencies import NETWORKS, LabLatencies, network_arguments, read_latencies
from srlab.extensions.report.runs import Run
from srlab.whole_files import whole_file

if TYPE_CHECKING:
    from srlab.extensions.lab.subjects import Plan
    from srlab.models.network import Network

__all__ = ["measure_latencies"]

_WARMUP = 2
_ARGUMENTS = dict[str, Any]


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
    from srlab.extensions.lab.conditions import arithmetic, describe_machine
    from srlab.extensions.lab.preparation import Workload
    from srlab.extensions.lab.record import LabSettings
    from srlab.extensions.lab.running import Laboratory, run_lab
    from srlab.tasks.conditions import source_commit

    comparison = as_comparison(runs)
    described = _named_networks(comparison)
    networks, faults = _build(described)
    plan, labels = _plan(described, networks, faults)
    scale = _one_scale(networks)
    size = lr_size or _lr_size(output_size or _measured_size(comparison.runs), scale)
    place = find_device(device)
    settings = LabSettings(
        step="inference", scale=scale, batch=1, warmup=_WARMUP, repeats=repeats, baseline=plan.baseline
    )
    with arithmetic(threads=threads, matmul_precision="highest"):
        lab = Laboratory(
            networks=networks,
            plan=plan,
            settings=settings,
            workloads=[Workload(lr_size=size, batch=1, device=place)],
            conditions=describe_machine(place, command=command, commit=source_commit()),
            with_rooflines=False,
            progress=progress,
        )
        # fail before minutes of measuring if the folder cannot be written
        record.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=record.parent).close()
        measured = run_lab(lab)
    with whole_file(record) as partial:
        partial.write_text(json.dumps({**measured.as_json(), NETWORKS: labels}, indent=1) + "\n", "utf-8")
    if not measured.complete:
        raise KeyboardInterrupt
    return read_latencies(record)


def _named_networks(comparison: Comparison) -> dict[str, _ARGUMENTS]:
    """Distinct networks, named after the first row that has each; the baseline's first."""
    found: dict[str, _ARGUMENTS] = {}
    for each in sorted(comparison.configurations, key=lambda each: each is not comparison.baseline):
        arguments = network_arguments(each.runs)
        if arguments is not None and arguments not in found.values():
            found[each.label] = arguments
    if not found:
        raise ValueError("nothing to measure: no run has left the configuration of its network")
    return found


def _build(described: Mapping[str, _ARGUMENTS]) -> "tuple[dict[str, Network], dict[str, str]]":
    """Networks by name, and why the others cannot be built."""
    import torch

    from srlab.app.presets import build_network

    networks, faults = {}, {}
    for name, arguments in described.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                networks[name] = build_network(arguments)
            except ValueError as error:
                faults[name] = str(error)
    if not networks:
        name, fault = next(iter(faults.items()))
        raise ValueError(f"none of the {len(faults)} networks can be built; {name}: {fault}")
    return networks, faults


def _plan(
    described: Mapping[str, _ARGUMENTS], networks: "Mapping[str, Network]", faults: Mapping[str, str]
) -> "tuple[Plan, dict[str, _ARGUMENTS]]":
    """Each network once, with the back end of its runs; and the arguments by the lab's labels."""
    from srlab.extensions.lab.subjects import Plan, Skipped, Subject
    from srlab.models.network import AttentionNetwork

    subjects = {}
    for name, arguments in described.items():
        has_choice = isinstance(networks.get(name), AttentionNetwork)
        backend = str(arguments.get("backend", "auto")) if has_choice else None
        subjects[name] = Subject(name, backend, "float32", "eager")
    plan = Plan(
        subjects=tuple(subjects[name] for name in networks),
        baseline=subjects[next(iter(networks))].label,
        skipped=tuple(Skipped(subjects[name].label, fault) for name, fault in faults.items()),
    )
    return plan, {subjects[name].label: arguments for name, arguments in described.items()}


def _one_scale(networks: "Mapping[str, Network]") -> int:
    scales = sorted({network.scale for network in networks.values()})
    if len(scales) > 1:
        listed = " and ".join(f"x{scale}" for scale in scales)
        raise ValueError(f"the lab measures one scale at a time, these runs have {listed}: report them apart")
    return scales[0]


def _measured_size(runs: Sequence[Run]) -> tuple[int, int]:
    """Height and width of the restored image that all runs are measured at."""
    sizes = {
        tuple(run.config["latency.output_size"]) for run in runs if run.config.get("latency.output_size")
    }
    sizes |= {run.costs.output_size for run in runs if run.costs.output_size}
    if len(sizes) != 1:
        listed = " and ".join(f"{width}x{height}" for height, width in sorted(sizes)) or "none"
        raise ValueError(
            f"the runs have {len(sizes)} image sizes of their latency ({listed}) instead of one; "
            "give output=WIDTHxHEIGHT or size=HEIGHTxWIDTH"
        )
    height, width = sizes.pop()
    return height, width


def _lr_size(output_size: tuple[int, int], scale: int) -> tuple[int, int]:
    from srlab.extensions.lab.sizes import lr_sizes_of_outputs

    height, width = output_size
    return lr_sizes_of_outputs([(width, height)], scale)[0]
