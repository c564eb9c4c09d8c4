"""What tiles cost and change: time, memory and 8-bit values against the whole image.

python benchmarks/tiling.py CHECKPOINT PHOTOGRAPH [--shrink 2] [--strip 64x640] [--size 1080x1920]
    [--shares 4,16] [--only halos|tiles] [--threads 2] [--json FILE]

The photograph, divided by ``--shrink``, is the LR image. A strip of it is restored in tiles of 64, or of the
network's grid where that is larger, with halos of several widths, on the grid and off it. Then its middle is
restored as a whole, and in the largest tiles that have a 4th and a 16th of its pixels, halos included. Time
is the CPU time, which other programs disturb less than the clock; memory is the growth of resident memory.
"""

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import srlab
from srlab.counts.probe import device_name, evaluation_mode
from srlab.extensions.lab.memory import resident_growth
from srlab.metrics.scoring import to_levels
from srlab.models.network import Network
from srlab.ops.resize import imresize
from srlab.ops.subnormals import flush_subnormals
from srlab.runs.provenance import source_commit
from srlab.tasks.tiling import Cuts, Tiling, cuts_of, own_size, restore_tiles, round_up, wanted_pixels, whole

STRIP_TILE = 64


def main() -> None:
    """Measure, print a line for each way, and write the record after each."""
    options = _options()
    torch.set_num_threads(options.threads)
    network = srlab.load_model(options.checkpoint)
    image = photograph(options.photograph, options.shrink)
    record: dict[str, Any] = {"halos": [], "tiles": []}
    with flush_subnormals(), evaluation_mode(network):
        conditions = _conditions(network, options)
        ways = {
            "halos": lambda: measure_halos(network, _middle(image, options.strip)),
            "tiles": lambda: measure_tiles(network, _middle(image, options.size), options.shares),
        }
        for name in options.only or ways:
            for row in ways[name]():
                print(", ".join(f"{key} {_shown(value)}" for key, value in row.items()), flush=True)
                record[name].append(row)
                if options.json:
                    options.json.write_text(json.dumps({**conditions, **record}, indent=1) + "\n")


def photograph(path: Path, shrink: int) -> Tensor:
    """(1, 3, H, W) in [0, 1], the file's pixels divided by ``shrink``, of 8 bits."""
    pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).movedim(-1, 0)
    return imresize(pixels, scale=Fraction(1, shrink), mode="uint8")[None].float() / 255


def measure_tiles(network: Network, image: Tensor, shares: list[int]) -> Iterator[dict[str, Any]]:
    """The whole image, then tiles of which each has a ``share``-th of its pixels."""
    size = (image.shape[-2], image.shape[-1])
    cuts = cuts_of(network, exact=False)
    reference, first = _measured(network, image, whole(size))
    yield {"share": 1, **first}
    for share in shares:
        tile = _largest_tile(cuts, size, size[0] * size[1] / share)
        tiling = cuts.plan(size, tile)
        restored, row = _measured(network, image, tiling)
        restored_sides = (sum(span.length for span in axis) for axis in (tiling.rows, tiling.columns))
        pixels = math.prod(restored_sides) / (size[0] * size[1])
        seconds = row["cpu_seconds"] / first["cpu_seconds"]
        yield {
            "share": share,
            "tile": tile,
            "halo": cuts.halo,
            "tiles": tiling.count,
            "pixels_over_whole": pixels,
            **row,
            "time_over_whole": seconds,
            "time_over_pixels": seconds / pixels,
            **compare(restored, reference),
        }


def measure_halos(network: Network, image: Tensor) -> Iterator[dict[str, Any]]:
    """Tiles of one size with halos of several widths, against the whole strip."""
    size, reach = (image.shape[-2], image.shape[-1]), network.reach()
    grid, wraps = reach.alignment, reach.wraps
    multiple = cuts_of(network, exact=False).size_multiple
    widths = {grid * factor for factor in (0, 1, 2, 3, 4, 6, 8)} | {reach.halo, reach.full_halo}
    tile = round_up(STRIP_TILE, grid)
    off = Cuts(alignment=1, halo=10, wraps=False, size_multiple=1)
    cut = Cuts(alignment=grid, halo=reach.halo, wraps=False, size_multiple=multiple)
    ways = [("off the grid, cut at the border", off, tile - 4)]
    ways += [("on the grid, cut at the border", cut, tile)]
    ways += [
        ("on the grid", Cuts(alignment=grid, halo=width, wraps=wraps, size_multiple=multiple), tile)
        for width in sorted(widths)
        if width <= reach.full_halo
    ]
    reference = network(image)
    for name, cuts, side in ways:
        restored = restore_tiles(
            partial(wanted_pixels, network), image, cuts.plan(size, side), size=own_size(network, size)
        )
        yield {"cuts": name, "halo": cuts.halo, "tile": side, **compare(restored, reference)}


def compare(restored: Tensor, reference: Tensor) -> dict[str, float]:
    """Largest difference in units of 1/255, and the share of 8-bit values that differ."""
    changed = to_levels(restored, quantize=True) != to_levels(reference, quantize=True)
    return {
        "largest_difference": float((restored - reference).abs().max() * 255),
        "changed_values": float(changed.float().mean()),
    }


def _measured(network: Network, image: Tensor, tiling: Tiling) -> tuple[Tensor, dict[str, Any]]:
    results: list[Tensor] = []

    def run() -> None:
        size = own_size(network, tiling.size)
        results.append(restore_tiles(partial(wanted_pixels, network), image, tiling, size=size))

    clock, cpu = time.perf_counter(), time.process_time()
    peak, reason = resident_growth(run)
    row = {"seconds": time.perf_counter() - clock, "cpu_seconds": time.process_time() - cpu}
    return results[0], row | {"peak_mib": peak, "peak_unknown": reason}


def _largest_tile(cuts: Cuts, size: tuple[int, int], pixels: float) -> int:
    tile = cuts.alignment
    while cuts.plan(size, tile + cuts.alignment).largest <= pixels:
        tile += cuts.alignment
    return tile


def _middle(image: Tensor, size: tuple[int, int]) -> Tensor:
    top, left = ((have - want) // 2 for have, want in zip(image.shape[-2:], size, strict=True))
    if min(top, left) < 0:
        have = tuple(image.shape[-2:])
        raise SystemExit(f"the LR image is {have}, less than {size}: use a smaller --shrink")
    return image[..., top : top + size[0], left : left + size[1]].contiguous()


def _conditions(network: Network, options: argparse.Namespace) -> dict[str, Any]:
    reach = network.reach()
    return {
        "benchmark": "tiling",
        "network": options.checkpoint.name,
        "backend": getattr(network, "backend", None),
        "reach": {"alignment": reach.alignment, "pixels": reach.pixels, "halo": reach.halo},
        "photograph": options.photograph.name,
        "shrink": options.shrink,
        "size": options.size,
        "strip": options.strip,
        "threads": options.threads,
        "processor": device_name(torch.device("cpu")),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "commit": source_commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _size(text: str) -> tuple[int, int]:
    height, width = (int(word) for word in text.split("x"))
    return height, width


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("photograph", type=Path)
    parser.add_argument("--shrink", type=int, default=2)
    parser.add_argument("--strip", type=_size, default=(64, 640))
    parser.add_argument("--size", type=_size, default=(1080, 1920))
    parser.add_argument("--shares", type=_numbers, default=[4, 16])
    parser.add_argument("--only", nargs="+", choices=("halos", "tiles"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
