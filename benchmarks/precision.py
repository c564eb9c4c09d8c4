"""What 16 bits cost in PSNR: a trained network scored in float32, bfloat16 and float16 on the same images.

python benchmarks/precision.py RUN_OR_FILE IMAGES --device cuda > docs/results/precision-NAME.json

IMAGES is a folder of high-resolution pictures; low resolution is MATLAB's bicubic. ``weights``: weights and
activations have 16 bits. ``autocast``: weights stay in float32, products are made of 16 bits. Each case names
the back end that ran: that of --backend, or what the network chooses for the case.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext, redirect_stdout
from copy import deepcopy
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import torch

import srlab
from srlab.counts.probe import backend_of, device_name, evaluation_mode
from srlab.data.evaluation import EvaluationSet
from srlab.data.sources import folder_images
from srlab.data.store import open_store
from srlab.metrics.protocol import Arithmetic, ColorSpace, GrayRule, ProtocolConfig
from srlab.models.network import AttentionNetwork, Network
from srlab.runs.provenance import source_commit
from srlab.tasks.evaluation import evaluate

#: How each is called, the dtype of the weights, the dtype of autocast.
CASES = (
    ("float32", torch.float32, None),
    ("weights bfloat16", torch.bfloat16, None),
    ("weights float16", torch.float16, None),
    ("autocast bfloat16", torch.float32, torch.bfloat16),
    ("autocast float16", torch.float32, torch.float16),
)


def pictures(root: Path, scale: int, cache: Path) -> list[EvaluationSet]:
    """Every picture below a folder, with its low-resolution version."""
    images = folder_images(str(root))
    store = open_store(images, cache=cache, on_bad_image="error")
    return [EvaluationSet(image_set=images, store=store, scale=scale, on_bad_image="error")]


def choose_backend(network: Network, name: str) -> None:
    """Have every case run with it.

    Raises:
        ValueError: the network has no such back end, or no choice at all.
    """
    if not isinstance(network, AttentionNetwork):
        raise ValueError(f"{type(network).__name__} has no choice of back ends; leave --backend {name} out")
    network.use_backend(name)


def scores(network: Network, sets: list[EvaluationSet], device: torch.device) -> Iterator[dict[str, Any]]:
    """Back end and mean PSNR of each case, and what it loses against the first; or why it is refused."""
    protocol = ProtocolConfig(
        name="basicsr",
        color=ColorSpace.y,
        quantize=True,
        border=network.scale,
        arithmetic=Arithmetic.double,
        gray=GrayRule.replicate,
    )
    baseline: float | None = None
    for name, dtype, cast in CASES:
        if dtype == torch.float16 and network.beyond_float16:
            yield {"case": name, "refused": network.beyond_float16}
            continue
        around = torch.autocast(device.type, dtype=cast) if cast else nullcontext()
        candidate = deepcopy(network).to(device, dtype)
        with around:
            report = evaluate(
                candidate,
                sets,
                [protocol],
                scale=network.scale,
                device=device,
                save_images=None,
                progress=False,
            )
            with evaluation_mode(candidate):
                backend = backend_of(candidate)
        psnr = fmean(mean.scores["psnr"] for mean in report.means)
        baseline = psnr if baseline is None else baseline
        yield {"case": name, "backend": backend, "psnr": psnr, "loss_db": baseline - psnr}


def main() -> None:
    """Score every case and print the record as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--backend", help="of attention, for all cases (default: the network's own choice)")
    options = parser.parse_args()
    device = torch.device(options.device)
    network = srlab.load_model(options.checkpoint)
    if options.backend is not None:
        choose_backend(network, options.backend)
    with TemporaryDirectory() as cache:
        with redirect_stdout(sys.stderr):  # of decoding: the record alone goes to a file
            sets = pictures(options.images, network.scale, Path(cache))
        cases = list(scores(network, sets, device))
    record = {
        "benchmark": "precision",
        "network": type(network).__name__,
        "scale": network.scale,
        "images": f"{sum(map(len, sets))} below {options.images.name}",
        "protocol": "basicsr",
        "device": device_name(device),
        "torch_version": torch.__version__,
        "commit": source_commit(),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "cases": cases,
    }
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
