"""Lay out a W&B project: PSNR against latency, curves, images.

Adds a view "srlab" to the project, or updates it: PSNR against latency, multiply-adds, parameters and memory;
learning curves; scores; pictures; runs grouped by their sweep. Runs reach W&B with logger.wandb.mode=online,
or later by wandb sync.

  srlab dashboard --project srlab
  srlab dashboard --project srlab --entity lab --sets Set5,Urban100
  srlab dashboard --project srlab --dry-run
"""

import argparse
import os
import re

from srlab.extensions.console.flags import words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add project, server and output."""
    add = parser.add_argument
    add("--project", required=True, help="logger.wandb.project of the runs")
    add("--entity", help="user or team; default: that of your key")
    add("--url", help="a W&B server of your own; default: WANDB_BASE_URL")
    add("--sets", type=words(), default=[], help="test sets that get bars of their own")
    add("--output-size", default="720x1280", metavar="HEIGHTxWIDTH", help="latency.output_size of the runs")
    add("--dry-run", action="store_true", help="print the layout as JSON, contact no server")


def run(arguments: argparse.Namespace) -> None:
    """Build the layout; print or save it.

    Raises:
        ValueError: a malformed size, no package, no key.
        OSError: the server cannot be reached.
    """
    size = arguments.output_size
    if not re.fullmatch(r"\d+x\d+", size):
        raise ValueError(f"--output-size {size} is not HEIGHTxWIDTH; write it as in --output-size 720x1280")

    import json

    from srlab.extensions.wandb.dashboard import Dashboard, save, specification

    dashboard = Dashboard(arguments.project, arguments.entity, tuple(arguments.sets), size)
    if arguments.url:
        os.environ["WANDB_BASE_URL"] = arguments.url
    if arguments.dry_run:
        print(json.dumps(specification(dashboard), indent=1))
    else:
        print(f"saved: {save(dashboard)}")
