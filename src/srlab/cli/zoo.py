"""List the networks: sizes, multiply-adds, published PSNR, recipes, released weights.

srlab zoo                 every preset, at x4
srlab zoo esc elan_light  these
srlab zoo --published esc every published row of a network, ours or another of the literature (OmniSR)
srlab zoo --write README.md
"""

import argparse
from pathlib import Path
from typing import Any

from srlab.cli.arguments import refuse_unknown

__all__ = ["add_arguments", "run"]

# A file, or a program that reads on, has no width: the tables get what they need.
_WIDTH = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which networks, and where to."""
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="presets; all if none is named")
    parser.add_argument(
        "--published",
        action="store_true",
        help="print what each source reports for the networks named instead of the table",
    )
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="bring the table between the markers of FILE up to date"
    )


def run(arguments: argparse.Namespace, assignments: dict[str, Any]) -> None:
    """Print, or write.

    Raises:
        ValueError: an unknown network, or options that exclude one another.
    """
    from rich.console import Console

    from srlab.zoo import literature_table, update_readme, zoo_rows, zoo_table

    refuse_unknown(assignments, ())
    if arguments.write and (arguments.networks or arguments.published):
        raise ValueError("--write writes the whole table: name no networks and leave --published out")
    if arguments.published and not arguments.networks:
        raise ValueError("--published wants networks: srlab zoo --published elan_light")
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH)
    if arguments.write:
        changed = update_readme(arguments.write)
        console.print(f"{arguments.write} {'updated' if changed else 'is up to date'}")
    elif arguments.published:
        for network in arguments.networks:
            console.print(literature_table(network))
    else:
        console.print(zoo_table(zoo_rows(arguments.networks or None)))
