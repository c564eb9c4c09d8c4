"""Convert a checkpoint to its official layout or to safetensors.

Reads runs and checkpoints of srlab and official files of every network, and says what it found. An official
file of one scale becomes one of another by scale=3 where its authors define how (ESC). NAME=VALUE sets what
the file does not tell (window_sizes=[8,8,8]), which of several weights to read (container=params), or how the
official layout is written (img_size=48 for SwinIR). Weights are written as float32.

  srlab convert outputs/elan_light_x4/2026-11-21_10-00-00 elan_light_x4.pt --to official
  srlab convert model_x4_500.pt elan_light_x4.safetensors --to safetensors
"""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from srlab.checkpoints import LoadedCheckpoint

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Source, destination, layout."""
    parser.add_argument("source", type=Path, metavar="IN", help="checkpoint, run folder or official file")
    parser.add_argument("destination", type=Path, metavar="OUT", help="new file; an existing one is kept")
    parser.add_argument(
        "--to",
        required=True,
        choices=("official", "safetensors"),
        help="official: as the authors' code writes it (a name ending in .safetensors: their keys in that "
        "format); safetensors: our keys, with all that load_model needs in the metadata",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")


def run(arguments: argparse.Namespace, assignments: dict[str, Any]) -> None:
    """Read, write, read again, and compare.

    Raises:
        ValueError: what cannot be read or written, and why.
        FileExistsError: the destination exists.
    """
    from srlab.checkpoints import read_checkpoint, save_official, save_safetensors
    from srlab.checkpoints.writing import lost_arguments, official_options

    source, destination = arguments.source, arguments.destination
    _check_destination(source, destination, arguments.overwrite)
    if arguments.to == "safetensors" and destination.suffix != ".safetensors":
        raise ValueError(f"{destination} would hold safetensors; let its name end in .safetensors")
    options = {name: assignments.pop(name) for name in official_options() & assignments.keys()}
    if options and arguments.to != "official":
        raise ValueError(f"{', '.join(options)}: only the official layout has such options")
    checkpoint = read_checkpoint(source, **assignments)
    lost: dict[str, Any] = {}
    if arguments.to == "official":
        options = {**checkpoint.description.get("official_options", {}), **options}
        save_official(checkpoint.network, destination, **options)
        lost = lost_arguments(checkpoint, **options)
    else:
        save_safetensors(checkpoint, destination)
    _read_back(checkpoint, destination)
    for name, value in lost.items():
        print(f"the official layout cannot store {name}={value}: give it when you load the file")
    network, size = checkpoint.network, destination.stat().st_size
    print(
        f"wrote {destination}: {type(network).__name__} x{network.scale}, {size / 2**20:.1f} MiB, read back"
    )


def _check_destination(source: Path, destination: Path, overwrite: bool) -> None:
    """Refuse before any work what could not be written, or would destroy something."""
    if destination.is_dir():
        raise IsADirectoryError(f"{destination} is a folder; name a file in it")
    if destination.exists() and not destination.is_file():
        raise FileExistsError(f"{destination} is no ordinary file; choose another name")
    if destination.exists() and source.exists() and destination.samefile(source):
        raise ValueError(f"{destination} is the file to convert; choose another name")
    if destination.exists() and not overwrite:
        raise FileExistsError(f"{destination} exists and is kept; choose another name or add --overwrite")
    parent = next(folder for folder in destination.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise NotADirectoryError(f"{parent} is no folder, so {destination} cannot lie in it")


def _read_back(checkpoint: "LoadedCheckpoint", destination: Path) -> None:
    """The new file gives the same network, to the last bit."""
    import torch

    from srlab.checkpoints import read_checkpoint

    model = {name: value for name, value in checkpoint.description["model"].items() if name[0] != "_"}
    logging.disable(logging.INFO)  # it would tell again what was found
    try:
        again = read_checkpoint(destination, **model).network.state_dict()
    finally:
        logging.disable(logging.NOTSET)
    wrong = [
        key for key, value in checkpoint.network.state_dict().items() if not torch.equal(value, again[key])
    ]
    if wrong:
        raise OSError(f"{destination} does not hold what was written: {', '.join(wrong[:5])} differ")
