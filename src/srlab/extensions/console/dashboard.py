"""Lay out a W&B project: PSNR against latency, curves, images.

Adds a view "srlab" to the project, or brings it up to date: PSNR against latency, multiply-adds, parameters
and memory; learning curves; scores; pictures; runs grouped by their sweep. sets=Set5,Urban100 adds bars for
single sets, output_size=HEIGHTxWIDTH follows a latency.output_size of your own. Runs reach W&B with
logger.wandb.mode=online, or later by wandb sync.

  srlab dashboard --project srlab
  srlab dashboard --project srlab --entity lab sets=Set5,Urban100
  srlab dashboard --project srlab --dry-run
"""

import argparse
import os
import re
from pathlib import Path
from typing import Any

from srlab.extensions.console.arguments import refuse_unknown, words_of

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whose project, on which server, or only to be looked at."""
    parser.add_argument("--project", required=True, help="logger.wandb.project of the runs")
    parser.add_argument("--entity", help="user or team; the one of your key if left out")
    parser.add_argument("--url", help="a W&B server of your own; WANDB_BASE_URL if left out")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--dry-run", action="store_true", help="print the layout as JSON, ask no server")
    instead.add_argument("--write", type=Path, metavar="FILE", help="write the layout as JSON, ask no server")


def run(arguments: argparse.Namespace, assignments: dict[str, Any]) -> None:
    """Build the layout; print, write or save it.

    Raises:
        ValueError: an unknown assignment, a malformed size, no package, no key.
        OSError: no file, or no server.
    """
    refuse_unknown(assignments, ("sets", "output_size"))
    (size,) = words_of(assignments, "output_size", "720x1280")
    if not re.fullmatch(r"\d+x\d+", size):
        raise ValueError(f"output_size={size} is no HEIGHTxWIDTH; write it as in output_size=720x1280")

    import json

    from srlab.extensions.report.dashboard import Dashboard, save, specification

    sets = tuple(words_of(assignments, "sets", None)) if "sets" in assignments else ()
    dashboard = Dashboard(arguments.project, arguments.entity, sets, size)
    if arguments.url:
        os.environ["WANDB_BASE_URL"] = arguments.url
    if not arguments.dry_run and arguments.write is None:
        print(f"saved: {save(dashboard)}")
        return
    text = json.dumps(specification(dashboard), indent=1)
    if arguments.dry_run:
        print(text)
    else:
        arguments.write.write_text(f"{text}\n")
        print(f"wrote {arguments.write}")
