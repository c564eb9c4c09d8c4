"""The words that were typed, and the ones that Hydra composes a configuration from."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from srlab.terminal.command_lines import command

__all__ = ["for_hydra", "program", "resume_command", "typed_overrides"]

# An override of Hydra's grammar, as far as its beginning shows: KEY=…, +KEY=…, ++KEY=…, ~KEY.
_OVERRIDE = re.compile(r"(?P<sign>~|\+{0,2})(?P<key>[A-Za-z_][\w@./:]*)(?P<value>=.*)?", re.DOTALL)


def for_hydra(words: Sequence[str]) -> list[str]:
    """The words of a command line that Hydra gets.

    ``resume=RUN`` and ``rerun=RUN`` change the configuration that RUN was started with. Hydra would apply the
    changes to the defaults, which may lack their keys (``data.root``), so they are left out here and applied
    to RUN's configuration later.
    """
    names_a_run = any(
        _key(word) in ("resume", "rerun") and word.partition("=")[2] not in ("", "null", "auto")
        for word in words
    )
    if not names_a_run or any(word in ("-m", "--multirun", "hydra.mode=MULTIRUN") for word in words):
        return list(words)
    kept = (None, "resume", "rerun", "hydra")
    return [word for word in words if _root(word) in kept]


def typed_overrides() -> list[str]:
    """The overrides of this program's command line, except Hydra's own."""
    return [word for word in sys.argv[1:] if _root(word) not in (None, "hydra")]


def program(verb: str) -> tuple[str, ...]:
    """How a user starts ``train`` or ``evaluate`` here: ``python train.py`` or ``srlab train``."""
    script = Path(sys.argv[0])
    return ("python", str(script.with_name(f"{verb}.py"))) if script.suffix == ".py" else ("srlab", verb)


def resume_command(folder: str | Path) -> str:
    """What a user types to resume the run in ``folder``."""
    return command(program("train"), {"resume": folder})


def _key(word: str) -> str | None:
    """The key of an override; None for flags and their values."""
    parsed = _OVERRIDE.fullmatch(word)
    if parsed is None or (parsed["value"] is None and parsed["sign"] != "~"):
        return None
    return parsed["key"]


def _root(word: str) -> str | None:
    key = _key(word)
    return None if key is None else re.split(r"[./]", key)[0]
