"""Write a network as a file for another run time, once it is shown to be the same network.

Takes runs, checkpoints, official files, names of weights, and presets: elan_tiny with the weights that come
with srlab, others with random ones, which is logged. The file takes any batch, height and width; norms are
folded and weights are inside. It is run at five sizes and on photographs in its own run
time, and is left only if it agrees with PyTorch: to 1e-4 of [0, 1] in float32, 0.01 dB of PSNR in float16.

  srlab export outputs/elan_light_x4/2026-11-21_10-00-00 --to onnx --out elan_light_x4.onnx
  srlab export model_x4_500.pt --to openvino --out elan_light_x4.xml --half
  srlab export edsr_baseline --scale 2 --to pt2 --out edsr.pt2 --size 180x320
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from srlab.extensions.console.flags import check_destination, integer, parse_settings, sides

if TYPE_CHECKING:
    from srlab.models.network import Network


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add source, format, destination, dtype, size."""
    add = parser.add_argument
    add("source", metavar="RUN|FILE|NAME", help="run folder, checkpoint, official file or name")
    add("--to", required=True, choices=("onnx", "openvino", "pt2"), help="pt2: a file of torch.export")
    add("--out", required=True, type=Path, metavar="FILE", help="ends in .onnx, .xml or .pt2")
    dtype = parser.add_mutually_exclusive_group()
    dtype.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="default: float32")
    dtype.add_argument("--half", action="store_const", dest="dtype", const="float16", help="--dtype float16")
    add("--size", type=sides, metavar="HEIGHTxWIDTH", help="the only size of the low-resolution image")
    add("--scale", type=integer(1), metavar="N", help="of a preset; default: 4, for random weights")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the network")
    add("--overwrite", action="store_true", help="replace FILE if it exists")


def run(arguments: argparse.Namespace) -> None:
    """Export, check, print the figures.

    Raises:
        ValueError: the source cannot be read, or no file passes the gate.
        OSError: the destination exists or cannot be written.
    """
    from srlab.extensions.export.formats import find_format
    from srlab.extensions.export.writing import export_network

    form, path = find_format(arguments.to), arguments.out
    for file in form.files(path):
        check_destination(Path(arguments.source), file, arguments.overwrite)
    form.require_packages()
    network, source = _read(arguments)
    exported = export_network(
        network, path, to=arguments.to, dtype=arguments.dtype, lr_size=arguments.size, source=source
    )
    parity = exported.parity
    for size, difference in zip(parity.sizes, parity.by_size, strict=True):
        print(f"{size}: largest difference {difference:.1e} of [0, 1]")
    for name, loss in parity.by_photograph.items():
        print(f"{name}: PSNR loss {round(loss, 5) + 0.0:.5f} dB")
    if exported.metadata["float32_operators"]:
        print(f"kept in float32: {exported.metadata['float32_operators']}")
    mebibytes = sum(file.stat().st_size for file in form.files(path)) / 2**20
    print(
        f"wrote {path}: {type(network).__name__} x{network.scale} in {arguments.dtype}, {mebibytes:.1f} MiB, "
        f"largest difference {parity.difference:.1e}"
    )


def _read(arguments: argparse.Namespace) -> "tuple[Network, dict[str, str]]":
    """The network, and metadata about its source."""
    import torch

    from srlab.app.presets import create_model, list_models
    from srlab.checkpoints import read_checkpoint
    from srlab.checkpoints.shipped import shipped_weights
    from srlab.extensions.export.writing import describe_source

    given = {name: value for name, (value,) in parse_settings(arguments.set).items()}
    is_preset = arguments.source in list_models() and not Path(arguments.source).exists()
    if is_preset and arguments.source not in shipped_weights():
        print(f"note: {arguments.source} is exported with random weights, of use for measuring time alone")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = create_model(arguments.source, scale=arguments.scale or 4, **given)
        return network.eval(), {"source": f"preset {arguments.source}, fresh weights, seed 0"}
    if arguments.scale is not None:
        given["scale"] = arguments.scale
    checkpoint = read_checkpoint(arguments.source, **given)
    return checkpoint.network, describe_source(Path(checkpoint.description["file"]), checkpoint.description)
