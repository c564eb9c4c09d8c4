"""Peak memory of NLSN and ELAN beside each other: tensors beyond weights and input, in evaluation.

python benchmarks/attention_memory.py > docs/results/memory-nlsn-elan.json

Full width and few blocks, which free what they allocate one after another: the peak is that of the whole
network. It is measured at two sizes, checked to grow with the pixels alone, and multiplied to 1280x720.
"""

import json
import os
import sys
from datetime import datetime, timezone
from typing import Any

import torch

import srlab
from srlab.counts.complexity import lr_size_for
from srlab.counts.live_memory import count_live_bytes
from srlab.counts.probe import device_name
from srlab.models.network import AttentionNetwork
from srlab.runs.provenance import source_commit

OUTPUT_SIZE = (720, 1280)
# Low-resolution sizes: whole windows of 16 for ELAN, whole chunks of 144 for NLSN.
SIZES = ((96, 144), (192, 144))
FEW_BLOCKS = {"nlsn": {"depth": 1}, "elan": {"depth": 2}}
# Of the authors' NLSN, measured with the same counter on their code at fb3d4225, floats for each LR pixel.
AUTHORS_NLSN = 11504.0


def nlsn_floats(*, dim: int, reduction: int, chunk_size: int, num_rounds: int) -> int:
    """What lives at once at the end of the authors' attention, for each LR pixel, with whole chunks.

    For n rounds, C channels, E = C / reduction and chunks of S: the input, its values and the sum over rounds
    3 C; what is compared E; in each round sorted copies E + C, keys and values with their neighbours
    3 E + 3 C, scores before and after the soft-max 2 * 3 S, the result before and after it is weighed 2 C,
    two numbers for its weight, and five indices of eight bytes 10.
    """
    compared = dim // reduction
    return 3 * dim + compared + num_rounds * (4 * compared + 6 * dim + 6 * chunk_size + 12)


def floats_for_each_pixel(name: str, backend: str, scale: int) -> float:
    """Peak floats (of 4 bytes) for each LR pixel; an error if they are not the same at both sizes."""
    network = srlab.create_model(name, scale=scale, backend=backend, **FEW_BLOCKS[name]).eval()
    assert isinstance(network, AttentionNetwork)
    peaks = []
    for height, width in SIZES:
        image = torch.rand(1, 3, height, width)
        with torch.no_grad():
            peak, _ = count_live_bytes(lambda lr_image=image: network(lr_image))
        peaks.append(peak / 4 / (height * width))
    if abs(peaks[0] / peaks[1] - 1) > 0.01:
        raise ValueError(f"{name} with {backend} needs {peaks} floats a pixel: not proportional to the image")
    return peaks[-1]


def gibibytes(floats: float, scale: int, multiple: int) -> float:
    """For the whole image, padded to a multiple, in float32."""
    height, width = lr_size_for(srlab.create_model("bicubic", scale=scale), OUTPUT_SIZE)
    pixels = (height + -height % multiple) * (width + -width % multiple)
    return round(4 * floats * pixels / 2**30, 3)


def main() -> None:
    """Measure, print the record."""
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for scale in (2, 3, 4):
        subjects = [("nlsn", "authors' code", AUTHORS_NLSN, 1)]
        for name, backend, multiple in (
            ("nlsn", "reference", 1),
            ("nlsn", "streamed", 1),
            ("elan", "reference", 16),
            ("elan", "sdpa", 16),
        ):
            subjects.append((name, backend, floats_for_each_pixel(name, backend, scale), multiple))
        for name, backend, floats, multiple in subjects:
            peak = gibibytes(floats, scale, multiple)
            row = {
                "network": name,
                "scale": scale,
                "backend": backend,
                "floats_per_lr_pixel": round(floats, 1),
            }
            rows.append({**row, "peak_gib": peak})
            print(rows[-1], file=sys.stderr)
    formula = nlsn_floats(dim=256, reduction=4, chunk_size=144, num_rounds=4)
    record = {
        "benchmark": "attention_memory",
        "output_size": OUTPUT_SIZE,
        "measured_lr_sizes": SIZES,
        "blocks": FEW_BLOCKS,
        "dtype": "float32",
        "authors_nlsn": {"commit": "fb3d4225", "formula_floats": formula, "measured_floats": AUTHORS_NLSN},
        "rows": rows,
        "device": device_name(torch.device("cpu")),
        "threads": 1,
        "load_average": os.getloadavg()[0],
        "torch_version": torch.__version__,
        "commit": source_commit(),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
