"""Run the configuration of a run once more, in a new folder.

srlab rerun outputs/elan_demo_x2/2026-11-20_10-00-00
srlab rerun RUN seed=2 trainer.max_steps=500      with single values changed
srlab rerun RUN hydra.run.dir=FOLDER              into this folder
"""

import argparse
import os
import sys
from typing import Any

from srlab.terminal.command_lines import override

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, and what to change."""
    parser.add_argument("run_folder", metavar="RUN", help="the folder of a run, or one of its checkpoints")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="as for train.py, values only")


def run(arguments: argparse.Namespace, assignments: dict[str, Any]) -> None:
    """Become the training program, so that signals, terminal and exit status are its own.

    Raises:
        ValueError: a change that is no KEY=VALUE.
    """
    wrong = [word for word in arguments.changes if "=" not in word]
    if wrong:
        raise ValueError(f"rerun takes one RUN, then KEY=VALUE; got {wrong[0]!r}")
    if {"rerun", "resume"} & assignments.keys():
        raise ValueError("srlab rerun starts a run of its own: leave rerun= and resume= out")
    changes = [*arguments.changes, *(override(key, value) for key, value in assignments.items())]
    # as a module, which Lightning can start again for each of several devices
    program = [sys.executable, "-m", "srlab.app", override("rerun", arguments.run_folder), *changes]
    sys.stdout.flush()
    os.execv(sys.executable, program)
