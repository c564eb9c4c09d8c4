"""List the networks: sizes, multiply-adds, published PSNR, recipes, released weights.

srlab zoo                 every preset, at x4
srlab zoo esc elan_light  these
srlab zoo --published esc every published row of a network, ours or another of the literature (OmniSR)
srlab zoo convention=fvcore scale=2   sizes as papers count them, beside what they print
srlab zoo --write README.md
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlab.extensions.console.arguments import refuse_unknown

if TYPE_CHECKING:
    from rich.table import Table

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
    from srlab.terminal.tables import plain_console

    _check(arguments, assignments)
    console = plain_console(unbounded_width=_WIDTH)
    for line in _output(arguments, console.width, **assignments):
        console.print(line, soft_wrap=isinstance(line, str))


def _output(
    arguments: argparse.Namespace, width: int, convention: str | None = None, scale: int = 4
) -> Iterator["Table | str"]:
    """What to print."""
    from srlab.extensions.zoo import convention_table, literature_table, update_readme, zoo_rows, zoo_table

    networks = arguments.networks or None
    if arguments.write:
        yield f"{arguments.write} {'updated' if update_readme(arguments.write) else 'is up to date'}"
    elif convention:
        yield convention_table(networks, convention=convention, scale=scale)
    elif arguments.published:
        yield from map(literature_table, arguments.networks)
    else:
        yield zoo_table(zoo_rows(networks), width=width)


def _check(arguments: argparse.Namespace, assignments: dict[str, Any]) -> None:
    """Refuse what would be ignored."""
    refuse_unknown(assignments, ("convention", "scale"))
    if "scale" in assignments and "convention" not in assignments:
        raise ValueError("scale=… belongs to convention=…; the table of networks is of x4")
    if "convention" in assignments and not assignments["convention"]:
        raise ValueError("convention= needs a name: official, fvcore, swinir_paper, elan_paper or ntire")
    if "convention" in assignments and (arguments.write or arguments.published):
        raise ValueError("convention=… prints a table of its own: leave --write and --published out")
    if arguments.write and (arguments.networks or arguments.published):
        raise ValueError("--write writes the whole table: name no networks and leave --published out")
    if arguments.published and not arguments.networks:
        raise ValueError("--published wants networks: srlab zoo --published elan_light")
