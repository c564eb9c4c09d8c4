"""Each network's fast back end against its reference, interleaved in one run.

python benchmarks/backends.py --size 90 160 --repeats 7 > docs/results/backends-x4-NAME.json
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone

import torch

import srlab
from srlab.profiling.latency import measure_interleaved
from srlab.tasks.conditions import source_commit

# Preset, and the back end that is compared with ``reference``.
CASES = (
    ("elan_light", "sdpa"),
    ("swinir_light", "sdpa"),
    ("esc_light", "sdpa"),
    ("hit_sir", "linear"),
    ("hit_sng", "linear"),
    ("hit_srf", "linear"),
    ("swinir_light_elsa", "fused"),
    ("elan_light_elsa", "fused"),
)


def forward(preset: str, backend: str, size: tuple[int, int]) -> Callable[[], object]:
    """One x4 forward pass of ``preset`` with random weights, the same for every back end."""
    torch.manual_seed(0)
    network = srlab.create_model(preset, scale=4, backend=backend).eval()
    image = torch.rand(1, 3, *size)

    def run() -> object:
        with torch.inference_mode():
            return network(image)

    return run


def main() -> None:
    """Measure every case; a line for each, then the record as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, nargs=2, default=(90, 160), help="LR height and width")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    record = {
        "benchmark": "backends",
        "scale": 4,
        "lr_size": list(options.size),
        "dtype": "float32",
        "load_average": os.getloadavg()[0],
        "commit": source_commit(),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "networks": {},
    }
    for preset, backend in CASES:
        functions = {name: forward(preset, name, tuple(options.size)) for name in ("reference", backend)}
        report = measure_interleaved(functions, device="cpu", warmup=1, repeats=options.repeats)
        record["networks"][preset] = asdict(report)
        ratio = report.ratios[backend].median
        print(f"{preset}: {backend} {ratio:.2f} of reference", file=sys.stderr, flush=True)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
