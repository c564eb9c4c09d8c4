"""Measure networks against one another: time, memory, energy and ceilings in one interleaved run.

srlab profile model=elan_light,swinir_light backend=reference,auto size=180x320 threads=2
srlab profile model=elan_light device=cuda dtype=float32,bfloat16 compile=eager,default,graph output=1280x720
srlab profile model=elan_light step=training batch=32 patch=64 checkpointing=false,true data=demo workers=0,2
srlab profile --table profiles/2026-11-21_10-00-00.json

Crossed: model (presets or checkpoints), backend, dtype, compile (eager, graph, or a mode of torch.compile),
mask (cached or rebuilt) and subnormals (flushed or kept). size=HEIGHTxWIDTH is of the low-resolution image,
output=WIDTHxHEIGHT, as papers write, of the restored one; a list is measured one after the other. The first
subject is the baseline unless baseline=elan_light/reference/float32/eager, or as many of its parts as tell
it apart, says otherwise. Also: device=auto scale=4 batch=1 repeats=9 warmup=2 matmul_precision=highest, and
record=PATH (none: no file; default: profiles/DATE.json). The last line of the output is the record as JSON.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlab.extensions.console.arguments import command_line, integer_of, refuse_unknown, values_of, words_of
from srlab.extensions.console.progress import progress_line

if TYPE_CHECKING:
    import torch

    from srlab.extensions.lab.preparation import Workload
    from srlab.extensions.lab.record import LabRecord
    from srlab.extensions.lab.running import Laboratory
    from srlab.models.network import Network

__all__ = ["add_arguments", "run"]

# A file, or a program that reads on, has no width: the tables get what they need.
_WIDTH = 160
_DEFAULT_SCALE = 4
_INFERENCE_ONLY, _TRAINING_ONLY = ("size", "output", "mask"), ("patch", "checkpointing", "data")
_KNOWN = (
    "model", "backend", "device", "scale", "size", "output", "batch", "dtype", "compile", "mask", "threads",
    "repeats", "warmup", "baseline", "matmul_precision", "record", "step", "patch", "checkpointing", "data",
    "root", "workers", "subnormals",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything else is NAME=VALUE."""
    parser.add_argument(
        "--roofline",
        action="store_true",
        help="also print the fewest operations and bytes of each network, and how far it is from them",
    )
    parser.add_argument(
        "--table", type=Path, nargs="+", metavar="RECORD", help="measure nothing; print records as Markdown"
    )


def run(arguments: argparse.Namespace, assignments: dict[str, Any]) -> None:
    """Measure, print and record; or print records.

    Raises:
        ValueError: what cannot be measured, and why.
        KeyboardInterrupt: after Ctrl-C, once what was measured is printed and recorded.
    """
    from srlab.extensions.lab.conditions import arithmetic
    from srlab.extensions.lab.record import read_record, write_record
    from srlab.extensions.lab.tables import markdown_tables

    if arguments.table:
        if assignments or arguments.roofline:
            raise ValueError("--table prints records that exist: leave everything else out")
        print(markdown_tables([read_record(path) for path in arguments.table]))
        return
    refuse_unknown(assignments, _KNOWN)
    _refuse_what_does_nothing(assignments)
    path = _record_path(assignments)
    threads = integer_of(assignments, "threads", 1) if "threads" in assignments else None
    precision = str(assignments.get("matmul_precision", "highest"))
    with arithmetic(threads=threads, matmul_precision=precision):
        record = _measured(arguments, assignments, path)
    try:
        if path is not None:
            write_record(record, path)
    finally:  # whatever becomes of the file
        _show(record)
    if path is not None:
        sys.stderr.write(f"wrote {path}\n")
    if not record.complete:
        raise KeyboardInterrupt


def _measured(arguments: argparse.Namespace, assignments: Mapping[str, Any], path: Path | None) -> Any:
    """Whatever can be known to fail does so before anything is measured."""
    from srlab.extensions.lab.data_loading import with_loading
    from srlab.extensions.lab.running import run_lab

    with progress_line() as progress:
        lab = _laboratory(arguments, assignments, progress)
        loader = _loader(assignments, lab)
        if path is not None:
            _check_writable(path)
        record = run_lab(lab)
        if loader is None or not record.complete:
            return record
        progress("measuring the loader")
        return with_loading(record, *loader, lab.device)


def _laboratory(arguments: argparse.Namespace, assignments: Mapping[str, Any], progress: Any) -> "Laboratory":
    from srlab.counts.probe import find_device
    from srlab.extensions.lab.conditions import describe_machine
    from srlab.extensions.lab.record import LabSettings
    from srlab.extensions.lab.running import Laboratory
    from srlab.extensions.lab.subjects import Choices, plan_subjects
    from srlab.tasks.conditions import source_commit

    step = str(assignments.get("step", "inference"))
    device = find_device(str(assignments.get("device", "auto")))
    choices = Choices(
        backends=words_of(assignments, "backend", "auto"),
        dtypes=words_of(assignments, "dtype", "float32"),
        compiles=words_of(assignments, "compile", "eager"),
        masks=words_of(assignments, "mask", "cached"),
        checkpointing=values_of(assignments, "checkpointing", False),
        subnormals=words_of(assignments, "subnormals", "flushed"),
        step=step,
        device_type=device.type,
    )
    batch = integer_of(assignments, "batch", 32 if step == "training" else 1)
    repeats, warmup = integer_of(assignments, "repeats", 9), integer_of(assignments, "warmup", 2, minimum=0)
    networks = _networks(assignments)
    scale = next(iter(networks.values())).scale
    baseline = assignments.get("baseline")
    plan = plan_subjects(networks, choices, baseline=None if baseline is None else str(baseline))
    return Laboratory(
        networks=networks,
        plan=plan,
        settings=LabSettings(
            step=step, scale=scale, batch=batch, warmup=warmup, repeats=repeats, baseline=plan.baseline
        ),
        workloads=_workloads(assignments, scale, batch, device, step),
        conditions=describe_machine(
            device,
            command=command_line("profile", assignments, ["--roofline"] if arguments.roofline else []),
            commit=source_commit(),
        ),
        with_rooflines=arguments.roofline,
        progress=progress,
    )


def _networks(assignments: Mapping[str, Any]) -> dict[str, "Network"]:
    """By preset or file name, all of one scale, with weights that are the same in every run."""
    import torch

    from srlab.app.presets import create_model, list_models
    from srlab.checkpoints import load_model

    names = words_of(assignments, "model", None)
    unknown = [name for name in names if name not in list_models() and not Path(name).exists()]
    if unknown:
        raise ValueError(
            f"unknown model {', '.join(unknown)}: no file or run; presets are {', '.join(list_models())}"
        )
    loaded = {name: load_model(name) for name in names if name not in list_models()}
    scales = {network.scale for network in loaded.values()}
    scale = integer_of(assignments, "scale", min(scales, default=_DEFAULT_SCALE))
    if scales - {scale}:
        told = ", ".join(f"{name} is x{network.scale}" for name, network in loaded.items())
        raise ValueError(f"one run measures one scale, x{scale} here, but {told}")
    networks: dict[str, Network] = {}
    for name in names:
        label = Path(name).name if name in loaded else name
        if label in networks:
            raise ValueError(f"two models are called {label}; rename a file or measure them one by one")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            networks[label] = loaded[name] if name in loaded else create_model(name, scale=scale)
    return networks


def _workloads(
    assignments: Mapping[str, Any], scale: int, batch: int, device: "torch.device", step: str
) -> list["Workload"]:
    from srlab.extensions.lab.preparation import Workload

    if step == "training":
        patch = integer_of(assignments, "patch", 64)
        return [Workload(lr_size=(patch, patch), batch=batch, device=device, training=True)]
    sizes = _sizes(assignments, scale)
    return [Workload(lr_size=size, batch=batch, device=device, graph=_captured) for size in sizes]


def _captured(network: "Network") -> Any:
    from srlab.tasks.cuda_graphs import GraphedNetwork

    return GraphedNetwork(network)


def _sizes(assignments: Mapping[str, Any], scale: int) -> list[tuple[int, int]]:
    """Heights and widths of low-resolution images."""
    from srlab.extensions.lab.sizes import lr_sizes_of_outputs, parse_sides

    if "size" in assignments and "output" in assignments:
        raise ValueError("give size=HEIGHTxWIDTH of the LR image or output=WIDTHxHEIGHT, not both")
    if "size" in assignments:
        example = "180x320 (height x width of the LR image)"
        sizes = [parse_sides("size", value, example) for value in values_of(assignments, "size", None)]
    else:
        example = "1280x720 (width x height of the restored image)"
        values = values_of(assignments, "output", "1280x720")
        sizes = lr_sizes_of_outputs([parse_sides("output", value, example) for value in values], scale)
    if len(set(sizes)) < len(sizes):
        raise ValueError(f"two of the sizes are the same low-resolution size: {sizes}")
    return sizes


def _loader(assignments: Mapping[str, Any], lab: "Laboratory") -> tuple[Any, Sequence[int]] | None:
    """The data to measure beside the network, found and decoded, with the numbers of workers."""
    if "data" not in assignments:
        return None
    from srlab.extensions.lab.chosen_data import chosen_data

    workers = values_of(assignments, "workers", 0)
    for number in workers:
        integer_of({"workers": number}, "workers", 0, minimum=0)
    if len(set(workers)) < len(workers):
        raise ValueError(f"workers must be distinct numbers, got {workers}")
    data = chosen_data(
        str(assignments["data"]),
        scale=lab.settings.scale,
        patch_size=lab.workloads[0].lr_size[0],
        batch_size=lab.settings.batch,
        roots=words_of(assignments, "root", None) if "root" in assignments else (),
    )
    _ = data.training_crops
    return data, workers


def _show(record: "LabRecord") -> None:
    """Tables, notes and the record itself as the very last line of standard output."""
    from srlab.extensions.lab.tables import roofline_table, size_table
    from srlab.terminal.tables import plain_console

    content = record.as_json()
    console = plain_console(unbounded_width=_WIDTH)
    for size in content["sizes"]:
        if size["subjects"]:
            console.print(size_table(content, size, width=console.width))
        if size["rooflines"]:
            console.print(roofline_table(size, width=console.width))
    for note in record.notes:
        console.print(note)
    print(json.dumps(content, separators=(",", ":")), flush=True)


def _record_path(assignments: Mapping[str, Any]) -> Path | None:
    """Where to write; None for nowhere."""
    if "record" not in assignments:
        return Path("profiles") / f"{datetime.now():%Y-%m-%d_%H-%M-%S}.json"
    if assignments["record"] in (None, "none"):
        return None
    path = Path(str(assignments["record"]))
    if path.is_dir():
        raise ValueError(f"record={path} is a folder; name a file in it, or record=none")
    return path


def _check_writable(path: Path) -> None:
    """Make the record's folder and try to write there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise ValueError(f"record={path} cannot be written: {error}; choose another, or none") from error


def _refuse_what_does_nothing(assignments: Mapping[str, Any]) -> None:
    training = assignments.get("step") == "training"
    idle = [name for name in (_INFERENCE_ONLY if training else _TRAINING_ONLY) if name in assignments]
    if idle:
        other = "inference" if training else "training"
        raise ValueError(f"{', '.join(idle)} belong{'s' if len(idle) == 1 else ''} to step={other}")
    if {"root", "workers"} & assignments.keys() and "data" not in assignments:
        raise ValueError("root= and workers= belong to data=NAME")
