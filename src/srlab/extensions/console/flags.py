"""Shared by all verbs: a parser with errors of one line, types of flags, ``--set``, the old spelling."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line in one line, with exit status 2."""

    def error(self, message: str) -> NoReturn:
        """Print and exit."""
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def integer(minimum: int) -> Callable[[str], int]:
    """A type of flags: an integer of at least ``minimum``."""

    def parse(text: str) -> int:
        if not text.removeprefix("-").isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"must be an integer of at least {minimum}, got {text!r}")
        return int(text)

    return parse


def words(*known: str) -> Callable[[str], list[str]]:
    """A type of flags: distinct words with commas between, out of ``known`` if any are given."""

    def parse(text: str) -> list[str]:
        values = text.split(",")
        if not all(values) or len(set(values)) < len(values):
            raise argparse.ArgumentTypeError(f"must be distinct values with commas between, got {text!r}")
        if known and (unknown := set(values) - set(known)):
            named = ", ".join(sorted(unknown))
            raise argparse.ArgumentTypeError(f"unknown value {named}; choose from {', '.join(known)}")
        return values

    return parse


def integers(text: str) -> list[int]:
    """A type of flags: distinct integers of at least 0 with commas between."""
    return [integer(0)(word) for word in words()(text)]


def add_size_flags(parser: argparse._ActionsContainer, *, default: str) -> None:
    """``--size`` of the low-resolution image or ``--output`` of the restored one, as (height, width) each."""
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--size",
        type=lambda text: [sides(word) for word in words()(text)],
        metavar="HEIGHTxWIDTH",
        help="of the low-resolution image, such as 180x320",
    )
    sizes.add_argument(
        "--output",
        type=lambda text: [sides(word)[::-1] for word in words()(text)],
        metavar="WIDTHxHEIGHT",
        help=f"of the restored image, as papers write it; default: {default}",
    )


def sides(text: str) -> tuple[int, int]:
    """A type of flags: HEIGHTxWIDTH, as (height, width)."""
    first, _, second = text.partition("x")
    if not (first.isdecimal() and second.isdecimal() and int(first) and int(second)):
        raise argparse.ArgumentTypeError(f"must be like 180x320, both sides at least 1, got {text!r}")
    return int(first), int(second)


def parse_settings(assignments: Sequence[str], *, several: bool = False) -> dict[str, list[Any]]:
    """The values of each ``--set NAME=VALUE``, read as train.py reads them: commas separate several.

    The prefix ``model.`` may be left out.

    Raises:
        ValueError: not NAME=VALUE, a name that is given twice, or several values where one is needed.
    """
    if not assignments:
        return {}
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parse = OverridesParser.create().parse_override
    found: dict[str, list[Any]] = {}
    for word in assignments:
        try:
            override = parse(word)
            name = override.get_key_element().removeprefix("model.")
            swept = override.sweep_string_iterator() if override.is_sweep_override() else ()
            values = [parse(f"{name}={text}").value() for text in swept] or [override.value()]
        except HydraException as error:
            raise ValueError(
                f"--set {word}: must be NAME=VALUE, written as for train.py: {str(error).splitlines()[0]}"
            ) from error
        if len(values) > 1 and not several:
            raise ValueError(f"--set {word}: one value is needed here")
        if name in found:
            raise ValueError(f"--set gives {name} twice: {found[name]} and {values}")
        found[name] = values
    return found


def check_destination(source: Path, destination: Path, overwrite: bool) -> None:
    """Before any work, refuse what could not be written or would destroy something.

    Raises:
        OSError: the destination exists and is not to be overwritten, or cannot be a file.
        ValueError: it is the source.
    """
    if destination.is_dir():
        raise IsADirectoryError(f"{destination} is a folder; name a file in it")
    if destination.exists() and not destination.is_file():
        raise FileExistsError(f"{destination} is not an ordinary file; choose another name")
    if destination.exists() and source.exists() and destination.samefile(source):
        raise ValueError(f"{destination} is the file to convert; choose another name")
    if destination.exists() and not overwrite:
        raise FileExistsError(f"{destination} exists; choose another name or add --overwrite")
    parent = next(folder for folder in destination.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise NotADirectoryError(f"{parent} is not a folder, so {destination} cannot be written")


def refuse_old_spelling(verb: argparse.ArgumentParser, typed: Sequence[str]) -> None:
    """Answer NAME=VALUE, which earlier versions took, with what to type now.

    Raises:
        ValueError: a word that is NAME=VALUE, neither after a flag nor an existing path.
    """
    for before, word in zip(["", *typed], typed, strict=False):
        name, equals, value = word.partition("=")
        if equals and name.isidentifier() and not before.startswith("-") and not Path(word).exists():
            flag, usage = f"--{name.replace('_', '-')}", verb.format_usage()
            now = f"{flag} {value}" if f"{flag} " in usage else f"--set {word}"
            now = value if name == "model" and "MODEL" in usage else now
            raise ValueError(f"options are flags, not NAME=VALUE: instead of {word}, type {now}")
