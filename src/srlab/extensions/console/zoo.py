"""List the networks: sizes, multiply-adds, published PSNR, recipes, released weights; scores of our own.

srlab zoo                  every preset, at x4; then those trained here, beside published small networks
srlab zoo esc elan_light   these
srlab zoo --published esc  every published row of a network, ours or another of the literature (OmniSR)
srlab zoo --convention fvcore --scale 2   sizes as papers count them, beside what they print
srlab zoo --write README.md
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from srlab.extensions.console.flags import integer

if TYPE_CHECKING:
    from rich.table import Table

_WIDTH = 120  # columns where the output is not a terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add networks and what to print of them."""
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="presets; default: all")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--published", action="store_true", help="print what each source reports")
    instead.add_argument(
        "--convention", metavar="NAME", help="official, fvcore, swinir_paper, elan_paper or ntire"
    )
    instead.add_argument("--write", type=Path, metavar="FILE", help="update the table between FILE's markers")
    parser.add_argument("--scale", type=integer(1), help="with --convention; default: 4")


def run(arguments: argparse.Namespace) -> None:
    """Print, or write.

    Raises:
        ValueError: an unknown network, or flags that exclude one another.
    """
    from srlab.terminal.tables import plain_console

    if arguments.scale is not None and not arguments.convention:
        raise ValueError("--scale belongs to --convention; the table of networks is of x4")
    if arguments.write and arguments.networks:
        raise ValueError("--write writes the whole table: name no networks")
    if arguments.published and not arguments.networks:
        raise ValueError("--published needs networks: srlab zoo --published elan_light")
    console = plain_console(unbounded_width=_WIDTH)
    for line in _output(arguments, console.width):
        console.print(line, soft_wrap=isinstance(line, str))


def _output(arguments: argparse.Namespace, width: int) -> Iterator["Table | str"]:
    networks = arguments.networks or None
    if arguments.published:
        from srlab.extensions.literature.published import literature_table  # needs no torch

        yield from map(literature_table, arguments.networks)
        return
    from srlab.extensions.zoo.conventions import convention_table
    from srlab.extensions.zoo.networks import scores_table, update_readme, zoo_rows, zoo_table

    if arguments.write:
        yield f"{arguments.write} {'updated' if update_readme(arguments.write) else 'is up to date'}"
    elif arguments.convention:
        yield convention_table(networks, convention=arguments.convention, scale=arguments.scale or 4)
    else:
        yield zoo_table(zoo_rows(networks), width=width)
        yield from filter(None, map(scores_table, networks or [None]))
