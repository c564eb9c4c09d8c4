"""Print the data for a bug report: versions, machine, back ends that work here, folders, extensions.

Every back end restores a small image and is compared with the reference; the first run on a machine compiles
the C++ kernels, which takes up to some minutes.

  srlab doctor
"""

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_PACKAGES = ("lightning", "hydra-core", "omegaconf", "wandb", "torchmetrics", "numpy")
_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16")  # as Linux names them
_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS", "CXX", "CUDA_VISIBLE_DEVICES")
# Small networks that have all back ends between them.
_PROBES = {
    "elan_demo": {},
    "swinir_light": {"depths": [2], "num_heads": [6]},
    "hit_sir": {"depths": [2], "num_heads": [6], "window_sizes": [8, 16]},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: everything is printed."""


def run(_arguments: argparse.Namespace) -> None:
    """Print one fact per line, as soon as it is known."""
    import torch

    devices = ["cpu", *(["cuda:0"] if torch.cuda.is_available() else [])]
    for fact, value in chain(_facts(), *(_backends(torch.device(device)) for device in devices)):
        print(f"{fact}: {value}", flush=True)


def _facts() -> Iterator[tuple[str, object]]:
    import torch

    from srlab.counts.probe import device_name
    from srlab.extension_points import load_extensions
    from srlab.extensions.lab.conditions import describe_machine, installed_version
    from srlab.ops.subnormals import flush_subnormals, subnormal_mode

    yield from describe_machine(torch.device("cpu"), command="srlab doctor").items()
    yield "sources", Path(__file__).parents[3]
    yield "python", sys.executable
    for package in _PACKAGES:
        yield package, installed_version(package) or "not installed"
    yield "system", platform.platform()
    processor = Path("/proc/cpuinfo")
    flags = processor.read_text().split() if processor.exists() else []
    yield "instructions", ", ".join(flag for flag in _FLAGS if flag in flags) or "unknown"
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else "unknown"
    yield "cores usable by this process", usable
    with flush_subnormals():
        flushed = subnormal_mode()
    yield "subnormals", f"{subnormal_mode()} by default, {flushed} in train.py, evaluate.py and the lab"
    for index in range(torch.cuda.device_count()):
        yield f"cuda:{index}", device_name(torch.device("cuda", index))
    yield "C++ compiler", _compiler()
    yield from ((name, os.environ[name]) for name in _VARIABLES if name in os.environ)
    data = Path(os.environ.get("SRLAB_DATA", "data"))
    yield "data (SRLAB_DATA)", _folder(data)
    yield "cache (SRLAB_CACHE)", _folder(Path(os.environ.get("SRLAB_CACHE", data / ".srlab")))
    yield "extensions", ", ".join(load_extensions()) or "none"


def _compiler() -> str:
    command = shlex.split(os.environ.get("CXX", ""))[:1] or ["c++"]
    if shutil.which(command[0]) is None:
        return f"{command[0]} not found: the kernels of backend=fused on a CPU need one"
    result = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=30, check=False)
    return result.stdout.partition("\n")[0]


def _folder(path: Path) -> str:
    existing = next(each for each in [path, *path.absolute().parents] if each.exists())
    free = f"{shutil.disk_usage(existing).free / 2**30:.1f} GiB free"
    return f"{path.absolute()}, {free}{'' if path.exists() else ', does not exist'}"


def _backends(device: "torch.device") -> Iterator[tuple[str, str]]:
    """Restore a small image with every back end; an error is a finding, not a failure."""
    import torch

    from srlab.app.presets import create_model
    from srlab.counts.probe import evaluation_mode, random_lr_image
    from srlab.models.network import AttentionNetwork

    image = random_lr_image((16, 16), device, torch.float32)
    for preset, parameters in _PROBES.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = create_model(preset, scale=2, **parameters).to(device)
        assert isinstance(network, AttentionNetwork)
        expected = None
        for name in network.backends:
            try:
                network.use_backend(name)
                with evaluation_mode(network):
                    result = network(image)
                expected = result if expected is None else expected
                deviation = float((result - expected).abs().max())
                found = f"works, differs from reference by at most {deviation:.1e}"
            except Exception as error:
                found = f"fails: {type(error).__name__}: {' '.join(str(error).split())}"
            yield f"{preset} backend={name} on {device}", found
