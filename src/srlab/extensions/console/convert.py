"""Convert a checkpoint to its official layout or to safetensors.

Reads runs and checkpoints of srlab and official files of every network, and reports what it found. Weights
are written as float32. With --scale an official file of one scale becomes one of another where its authors
define how (ESC). --set gives parameters that the file does not hold (window_sizes=[8,8,8]) and options of the
official layout (img_size=48 for SwinIR).

  srlab convert outputs/elan_light_x4/2026-11-21_10-00-00 elan_light_x4.pt --to official
  srlab convert model_x4_500.pt elan_light_x4.safetensors --to safetensors
  srlab convert elan.pt elan.safetensors --to safetensors --set window_sizes=[4,8,16]
"""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from srlab.extensions.console.flags import check_destination, integer, parse_settings

if TYPE_CHECKING:
    from srlab.checkpoints import LoadedCheckpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add source, destination, layout."""
    add = parser.add_argument
    add("source", type=Path, metavar="IN", help="checkpoint, run folder or official file")
    add("destination", type=Path, metavar="OUT", help="new file")
    add(
        "--to",
        required=True,
        choices=("official", "safetensors"),
        help="official: as the authors' code writes it (a name ending in .safetensors: their keys in that "
        "format); safetensors: our keys, with all that load_model needs in the metadata",
    )
    add("--scale", type=integer(1), metavar="N", help="of OUT, if IN has another one")
    add("--container", metavar="NAME", help="which of several weights to read, such as params")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter or layout option")
    add("--overwrite", action="store_true", help="replace OUT if it exists")


def run(arguments: argparse.Namespace) -> None:
    """Read, write, read again, and compare.

    Raises:
        ValueError: IN cannot be read, or OUT cannot be written in this layout.
        FileExistsError: OUT exists.
    """
    from srlab.checkpoints import read_checkpoint, save_official, save_safetensors
    from srlab.checkpoints.loading import found_in
    from srlab.checkpoints.writing import lost_arguments, official_options

    source, destination = arguments.source, arguments.destination
    check_destination(source, destination, arguments.overwrite)
    if arguments.to == "safetensors" and destination.suffix != ".safetensors":
        raise ValueError(f"{destination} would hold safetensors: give it a name that ends in .safetensors")
    given = {name: value for name, (value,) in parse_settings(arguments.set).items()}
    options = {name: given.pop(name) for name in official_options() & given.keys()}
    if options and arguments.to != "official":
        raise ValueError(f"{', '.join(options)}: only the official layout has such options")
    choices = {"scale": arguments.scale, "container": arguments.container}
    given |= {name: value for name, value in choices.items() if value is not None}
    checkpoint = read_checkpoint(source, **given)
    print(f"read {found_in(checkpoint.description)}")
    missing = {}
    if arguments.to == "official":
        options = {**checkpoint.description.get("official_options", {}), **options}
        save_official(checkpoint.network, destination, **options)
        missing = lost_arguments(checkpoint, **options)
    else:
        save_safetensors(checkpoint, destination)
    _read_back(checkpoint, destination)
    for name, value in missing.items():
        print(f"the official layout does not store {name}={value}: give it when you load the file")
    network, mebibytes = checkpoint.network, destination.stat().st_size / 2**20
    print(f"wrote {destination}: {type(network).__name__} x{network.scale}, {mebibytes:.1f} MiB, read back")


def _read_back(checkpoint: "LoadedCheckpoint", destination: Path) -> None:
    """Check that the new file gives the same network, bit by bit."""
    import torch

    from srlab.checkpoints import read_checkpoint

    model = {name: value for name, value in checkpoint.description["model"].items() if name[0] != "_"}
    logging.disable(logging.INFO)  # it would report a second time what was found
    try:
        again = read_checkpoint(destination, **model).network.state_dict()
    finally:
        logging.disable(logging.NOTSET)
    written = checkpoint.network.state_dict()
    wrong = [key for key, value in written.items() if not torch.equal(value, again[key])]
    if wrong:
        raise OSError(f"{destination} differs from what was written: {', '.join(wrong[:5])}")
