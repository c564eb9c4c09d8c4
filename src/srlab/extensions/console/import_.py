"""Translate an option file of BasicSR, traiNNer-redux or KAIR to a command line of train.py.

The command goes to standard output, with what was changed or decided, and every key that has no counterpart.

  srlab import options/train/SwinIR/train_SwinIR_SRx2_scratch.yml
  srlab import train_swinir_sr_lightweight.json
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the file."""
    parser.add_argument("file", type=Path, metavar="FILE", help="YAML or JSON")


def run(arguments: argparse.Namespace) -> None:
    """Print the command.

    Raises:
        ValueError: it is no option file, or what it trains has no counterpart.
        OSError: it cannot be read.
    """
    from srlab.extensions.import_options.command import import_file, report

    print(report(import_file(arguments.file)))
