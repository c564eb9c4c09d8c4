"""Sizes, times and parity of exported presets in full: adds to a record the files that it has not yet.

python benchmarks/exported_files.py docs/results/export-x4.json [--weights elan_light=FILE hit_srf=FILE]
    [--networks rcan swinir_light] [--formats pt2 openvino] [--dtypes float32 float16] [--minutes 10]

Each file is written by a process of its own, which ends after ``--minutes``. What was refused or took too
long is recorded with its reason. Networks without trained weights get fresh ones (seed 0), their matrices
halved, since ELAN is chaotic with fresh weights. HiT-SR's pt2 file is for one size.
"""

import argparse
import json
import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import srlab
from srlab.atomic_files import atomic_write
from srlab.extensions.export.formats import DTYPES, find_format
from srlab.extensions.export.writing import export_network
from srlab.models.network import Network

SCALE = 4
NETWORKS = ("elan_light", "swinir_light", "hit_srf", "edsr_baseline", "rcan")
FORMATS = ("onnx", "openvino", "pt2")
FRESH = "fresh, seed 0, matrices halved"


def main() -> None:
    """Write the files that the record lacks, and the record after each."""
    options = _options()
    record = json.loads(options.record.read_text())
    present = {(row["network"], row["format"], row["dtype"]) for row in record["files"]}
    weights = dict(word.split("=", 1) for word in options.weights)
    for name in options.networks:
        for form in options.formats:
            for dtype in options.dtypes:
                if (name, form, dtype) in present:
                    continue
                row = exported(name, weights.get(name), form, dtype, minutes=options.minutes)
                print(", ".join(f"{key} {row[key]}" for key in row if key != "versions"), flush=True)
                record["files"].append(row)
                with atomic_write(options.record) as partial:
                    partial.write_text(json.dumps(record, indent=1) + "\n")


def exported(name: str, weights: str | None, form: str, dtype: str, *, minutes: float) -> dict[str, Any]:
    """A row of the record; with ``fault`` instead of figures where there is no file."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    threads = torch.get_num_threads()
    worker = context.Process(target=_write, args=(sender, name, weights, form, dtype, threads))
    worker.start()
    sender.close()
    try:
        found = (
            receiver.recv() if receiver.poll(60 * minutes) else {"fault": f"not done in {minutes:g} minutes"}
        )
    except EOFError:
        worker.join()
        found = {"fault": f"the process ended with status {worker.exitcode}"}
    worker.kill()
    worker.join()
    source = FRESH if weights is None else Path(weights).name
    return {"network": name, "scale": SCALE, "weights": source, "format": form, "dtype": dtype, **found}


def network_of(name: str, weights: str | None) -> Network:
    """In evaluation mode, with the weights of a file or fresh ones."""
    if weights is not None:
        return srlab.load_model(weights)
    torch.manual_seed(0)
    network = srlab.create_model(name, scale=SCALE).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.5 if parameter.ndim > 1 else 1.0)
    return network


def _write(sender: Connection, name: str, weights: str | None, form: str, dtype: str, threads: int) -> None:
    torch.set_num_threads(threads)
    one_size = (form, name) == ("pt2", "hit_srf")
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}{find_format(form).suffix}"
        start = time.perf_counter()
        try:
            result = export_network(
                network_of(name, weights), path, to=form, dtype=dtype, lr_size=(64, 64) if one_size else None
            )
        except ValueError as fault:
            sender.send({"fault": str(fault)})
            return
        seconds = time.perf_counter() - start
        size = sum(file.stat().st_size for file in find_format(form).files(path))
        sender.send(
            {
                "seconds": round(seconds, 1),
                "mebibytes": round(size / 2**20, 2),
                "parity": result.parity.as_dict(),
                "float32_operators": result.metadata["float32_operators"],
                "versions": json.loads(result.metadata["versions"]),
            }
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("record", type=Path)
    parser.add_argument("--weights", nargs="+", default=[], metavar="NETWORK=FILE")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--minutes", type=float, default=10)
    return parser.parse_args()


if __name__ == "__main__":
    main()
