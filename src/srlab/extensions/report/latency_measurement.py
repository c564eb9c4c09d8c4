"""Measures the networks of a report in one interleaved run of the latency lab."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlab.atomic_files import atomic_write
from srlab.extensions.report.comparison import Comparison, as_comparison
from srlab.extensions.report.configuration_files import shown_value
from srlab.extensions.report.latencies import NETWORKS, LabLatencies, network_arguments, read_latencies
from srlab.extensions.report.runs import Run

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
    """Time the network of every configuration, all in one run; what shares a network is measured once.

    Networks are built from the runs' configurations, with random weights, which cost as much as trained ones:
    no checkpoint is needed. A network that fails is noted and the others go on.

    Args:
        runs: a comparison, or runs to compare.
        record: file to write, in a folder that is made where it is not there.
        output_size: height and width of the restored image; default: what the runs measured themselves.
        lr_size: of the low-resolution image, instead.
        repeats: rounds that count.
        threads: of the CPU; default: as torch has them.
        device: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``.
        command: what repeats it, to be said in the record.
        progress: is told what happens next.

    Raises:
        ValueError: no network can be built or measured, they are of several scales, the runs measured images
            of several sizes, or there is no such device.
        OSError: the record cannot be written.
        KeyboardInterrupt: after Ctrl-C, once the rounds that were finished are recorded.
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
    with arithmetic(threads=threads, matmul_precision="highest"):
        lab = Laboratory(
            networks=networks,
            plan=plan,
            settings=LabSettings(
                step="inference",
                scale=scale,
                batch=1,
                warmup=_WARMUP,
                repeats=repeats,
                baseline=plan.baseline,
            ),
            workloads=[Workload(lr_size=size, batch=1, device=place)],
            conditions=describe_machine(place, command=command, commit=source_commit()),
            with_rooflines=False,
            progress=progress,
        )
        # a folder that cannot be written is found before minutes of measuring, not after
        record.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=record.parent).close()
        measured = run_lab(lab)
    with atomic_write(record) as partial:
        partial.write_text(json.dumps({**measured.as_json(), NETWORKS: labels}, indent=1) + "\n", "utf-8")
    if not measured.complete:
        raise KeyboardInterrupt
    return read_latencies(record)


def _named_networks(comparison: Comparison) -> dict[str, _ARGUMENTS]:
    """Distinct networks in the order of the table, the baseline's first, by names that tell them apart."""
    ordered = sorted(comparison.configurations, key=lambda each: each is not comparison.baseline)
    found: list[_ARGUMENTS] = []
    for configuration in ordered:
        arguments = network_arguments(configuration.runs)
        if arguments is not None and arguments not in found:
            found.append(arguments)
    if not found:
        raise ValueError("nothing to measure: no run has left the configuration of its network")
    return {_name(arguments, found): arguments for arguments in found}


def _name(arguments: Mapping[str, Any], among: Sequence[Mapping[str, Any]]) -> str:
    """The class, and what differs among the networks of that class: ``ELAN n_share=0``."""
    same = [each for each in among if each["_target_"] == arguments["_target_"]]
    differing = [key for key in arguments if len({shown_value(each.get(key, "absent")) for each in same}) > 1]
    words = [f"{key}={shown_value(arguments[key])}" for key in differing]
    return " ".join([str(arguments["_target_"]).rpartition(".")[-1], *words])


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
    """Each network once, with the back end that its runs have; arguments by the labels of the lab."""
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
        told = " and ".join(f"x{scale}" for scale in scales)
        raise ValueError(f"one run of the lab measures one scale, these runs are {told}: report them apart")
    return scales[0]


def _measured_size(runs: Sequence[Run]) -> tuple[int, int]:
    """Height and width of the restored image that all runs are measured at."""
    sizes = {
        tuple(run.config["latency.output_size"]) for run in runs if run.config.get("latency.output_size")
    }
    sizes |= {run.costs.output_size for run in runs if run.costs.output_size}
    if len(sizes) != 1:
        told = " and ".join(f"{width}x{height}" for height, width in sorted(sizes)) or "none"
        raise ValueError(
            f"the runs have {len(sizes)} image sizes of their latency ({told}) instead of one; "
            "give output=WIDTHxHEIGHT or size=HEIGHTxWIDTH"
        )
    height, width = sizes.pop()
    return height, width


def _lr_size(output_size: tuple[int, int], scale: int) -> tuple[int, int]:
    from srlab.extensions.lab.sizes import lr_sizes_of_outputs

    height, width = output_size
    return lr_sizes_of_outputs([(width, height)], scale)[0]
