"""Measure networks against one another: time and memory of all in one interleaved run.

  srlab profile elan_light swinir_light --backend reference,auto --size 180x320 --threads 2
  srlab profile elan_light --set n_share=0,1,3 --set window_sizes=[4,8,16],[8,8,8]
  srlab profile elan_light --device cuda --dtype float32,bfloat16 --compile eager,default --output 1280x720
  srlab profile elan_light --step training --batch 32 --patch 64 --checkpointing false,true
  srlab profile elan_light --step training --data div2k --workers 0,2,8
  srlab profile --table profiles/2026-11-21_10-00-00.json

Flags that take several values, with commas between, are crossed: each combination is a subject. Each round
runs every subject once, and speed-ups compare times of the same round (docs/speed.md). Tables are printed;
the last line of the output is the record as JSON.
"""

import argparse
import json
import sys
import tempfile
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlab.extensions.console.flags import add_size_flags, integer, integers, parse_settings, words

if TYPE_CHECKING:
    from srlab.extensions.lab.record import LabRecord, LabSettings
    from srlab.extensions.lab.subjects import Plan
    from srlab.models.network import Network

_WIDTH = 160  # columns where the output is not a terminal
_DEFAULT_SCALE = 4
_ONLY_IN = {
    "inference": ("size", "output", "mask"),
    "training": ("patch", "checkpointing", "data", "root", "workers"),
}
# Values that can be crossed; the first is the default.
_DIALS = {
    "dtype": ("float32", "bfloat16", "float16", "float64"),
    "compile": ("eager", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
    "subnormals": ("flushed", "kept"),
    "mask": ("cached", "rebuilt"),
    "checkpointing": ("false", "true"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is measured, how, and where the record goes."""
    add = parser.add_argument
    add("models", nargs="*", metavar="MODEL", help="presets, checkpoints or runs")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of all networks")
    add("--scale", type=integer(1), help="default: that of the checkpoints, else 4")
    crossed = parser.add_argument_group("crossed (values with commas between)").add_argument
    crossed("--backend", type=words(), default=["auto"], help="reference, sdpa, fused, …; default: auto")
    for name, known in _DIALS.items():
        crossed(f"--{name}", type=words(*known), help=f"{', '.join(known)}; default: {known[0]}")
    add_size_flags(parser, default="1280x720; several are measured one after the other")
    add("--step", choices=("inference", "training"), default="inference", help="default: inference")
    add("--batch", type=integer(1), help="images of a pass; default: 1, in training 32")
    add("--patch", type=integer(1), help="side of the low-resolution crops in training; default: 64")
    add("--data", metavar="NAME", help="with --step training, measure the loader of train.py data=NAME, too")
    add("--root", action="append", metavar="FOLDER", help="data.root of --data; repeat it to join folders")
    add("--workers", type=integers, help="numbers of loader processes, such as 0,2,8; default: 0")
    add("--device", default="auto", help="cpu, cuda, cuda:1 or auto (default)")
    add("--threads", type=integer(1), help="of the CPU; default: all cores")
    add("--matmul-precision", choices=("highest", "high", "medium"), default="highest", help="of float32")
    add("--rounds", type=integer(1), default=9, help="default: 9")
    add("--warmup", type=integer(0), default=2, help="rounds that are dropped; default: 2")
    add(
        "--baseline", metavar="SUBJECT", help="such as elan_light/reference, part of its name; default: first"
    )
    add("--record", metavar="FILE", help="default: profiles/DATE.json; none: no file")
    add("--table", type=Path, nargs="+", metavar="RECORD", help="only print records as Markdown")


def run(arguments: argparse.Namespace) -> None:
    """Measure, record and print; or print records.

    Raises:
        ValueError: something cannot be measured.
        KeyboardInterrupt: Ctrl-C; the finished rounds are recorded and printed.
    """
    from srlab.extensions.lab.record import read_record
    from srlab.extensions.lab.tables import markdown_tables
    from srlab.runs.records import write_json

    if arguments.table:
        if arguments.models:
            raise ValueError("--table prints existing records: name no models")
        print(markdown_tables([read_record(path) for path in arguments.table]))
        return
    _check(arguments)
    record, path = _measured(arguments)
    try:
        if path is not None:
            write_json(path, record)
    finally:  # the result is printed even if the file cannot be written
        _show(record)
    if path is not None:
        sys.stderr.write(f"wrote {path}\n")
    if not record.complete:
        raise KeyboardInterrupt


def _check(arguments: argparse.Namespace) -> None:
    """Refuse flags that would have no effect."""
    if not arguments.models:
        raise ValueError("name at least one model, such as srlab profile elan_light (srlab zoo lists them)")
    needed = "inference" if arguments.step == "training" else "training"
    idle = [f"--{name}" for name in _ONLY_IN[needed] if getattr(arguments, name) is not None]
    if idle:
        raise ValueError(f"{', '.join(idle)} need{'s' if len(idle) == 1 else ''} --step {needed}")
    if arguments.data is None and (arguments.root or arguments.workers):
        raise ValueError("--root and --workers need --data NAME")


def _measured(arguments: argparse.Namespace) -> "tuple[LabRecord, Path | None]":
    """The record and where to write it; what can be checked is checked before the first measurement."""
    from srlab.counts.probe import find_device
    from srlab.extensions.lab.chosen_data import chosen_data
    from srlab.extensions.lab.loader import with_loading
    from srlab.extensions.lab.running import run_lab
    from srlab.terminal.progress import progress_line

    device = find_device(arguments.device)
    networks = _networks(arguments)
    plan, settings = _planned(arguments, networks)
    sizes = _lr_sizes(arguments, next(iter(networks.values())))
    data = None
    if arguments.data is not None:
        crops = {"scale": settings.scale, "patch_size": sizes[0][0], "batch_size": settings.batch}
        data = chosen_data(arguments.data, **crops, roots=arguments.root or ())
    path = _record_path(arguments.record)
    with progress_line() as progress:
        record = run_lab(
            networks,
            plan,
            settings,
            lr_sizes=sizes,
            device=device,
            command=arguments.command,
            threads=arguments.threads,
            matmul_precision=arguments.matmul_precision,
            progress=progress,
        )
        if data is not None and record.complete:
            progress("measuring the loader")
            record = with_loading(record, data, arguments.workers or [0], device)
    return record, path


def _planned(arguments: argparse.Namespace, networks: "dict[str, Network]") -> "tuple[Plan, LabSettings]":
    from srlab.extensions.lab.record import LabSettings
    from srlab.extensions.lab.subjects import plan_subjects

    dials: dict[str, list[Any]] = {
        name: getattr(arguments, name) or [known[0]] for name, known in _DIALS.items()
    }
    dials["checkpointing"] = [value == "true" for value in dials["checkpointing"]]
    plan = plan_subjects(networks, arguments.backend, dials, baseline=arguments.baseline)
    return plan, LabSettings(
        step=arguments.step,
        scale=next(iter(networks.values())).scale,
        batch=arguments.batch or (32 if arguments.step == "training" else 1),
        warmup=arguments.warmup,
        repeats=arguments.rounds,
        baseline=plan.baseline,
    )


def _networks(arguments: argparse.Namespace) -> "dict[str, Network]":
    """Each model with each combination of parameters, by labels such as ``elan_light n_share=0``.

    All have one scale, and presets have weights that are the same in every run.
    """
    import torch

    from srlab.app.presets import create_model, list_models
    from srlab.checkpoints import load_model

    presets, settings = list_models(), parse_settings(arguments.set, several=True)
    for name in arguments.models:
        if name not in presets and not Path(name).exists():
            raise ValueError(f"unknown model {name}: no such file or run; presets are {', '.join(presets)}")
    chosen: dict[str, tuple[str, dict[str, Any]]] = {}
    for name, values in product(arguments.models, product(*settings.values())):
        parameters = dict(zip(settings, values, strict=True))
        label = " ".join([Path(name).name, *(f"{key}={value}" for key, value in parameters.items())])
        if label in chosen:
            raise ValueError(f"two models are called {label}; rename a file or measure them one by one")
        chosen[label] = name, parameters
    loaded = {
        label: load_model(name, **each) for label, (name, each) in chosen.items() if name not in presets
    }
    scale = arguments.scale or min((each.scale for each in loaded.values()), default=_DEFAULT_SCALE)
    for label, network in loaded.items():
        if network.scale != scale:
            raise ValueError(f"one run measures one scale, x{scale} here, but {label} is x{network.scale}")
    networks: dict[str, Network] = {}
    for label, (name, parameters) in chosen.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            networks[label] = loaded.get(label) or create_model(name, scale=scale, **parameters)
    return networks


def _lr_sizes(arguments: argparse.Namespace, network: "Network") -> list[tuple[int, int]]:
    """Heights and widths of low-resolution images."""
    from srlab.counts.complexity import OUTPUT_SIZE, lr_size_for

    if arguments.step == "training":
        side = arguments.patch or 64
        return [(side, side)]
    sizes = arguments.size or [lr_size_for(network, size) for size in arguments.output or [OUTPUT_SIZE]]
    if len(set(sizes)) < len(sizes):
        raise ValueError(f"two of the sizes are the same low-resolution size: {sizes}")
    return sizes


def _show(record: "LabRecord") -> None:
    """Tables, notes, and the record itself as the last line of standard output."""
    from srlab.extensions.lab.tables import size_table
    from srlab.runs.records import plain
    from srlab.terminal.tables import plain_console

    content = plain(record)
    console = plain_console(unbounded_width=_WIDTH)
    for size in content["sizes"]:
        if size["subjects"]:
            console.print(size_table(content, size, width=console.width))
    for note in record.notes:
        console.print(note)
    print(json.dumps(content, separators=(",", ":")), flush=True)


def _record_path(chosen: str | None) -> Path | None:
    """Where to write, in a folder that is made and can be written to; None for nowhere."""
    if chosen == "none":
        return None
    path = Path(chosen or f"profiles/{datetime.now():%Y-%m-%d_%H-%M-%S}.json")
    if path.is_dir():
        raise ValueError(f"--record {path} is a folder; name a file in it, or --record none")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise ValueError(f"--record {path} cannot be written: {error}; choose another, or none") from error
    return path
