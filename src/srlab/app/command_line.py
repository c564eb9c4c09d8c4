"""What was typed: a run that is resumed or run once more has keys that the defaults do not have."""

import re
import sys
from collections.abc import Sequence

from hydra.core.hydra_config import HydraConfig

__all__ = ["for_hydra", "typed_overrides"]

# An override of Hydra's grammar, as far as its beginning tells: KEY=…, +KEY=…, ++KEY=…, ~KEY.
_OVERRIDE = re.compile(r"(?P<sign>~|\+{0,2})(?P<key>[A-Za-z_][\w@./:]*)(?P<value>=.*)?", re.DOTALL)


def for_hydra(arguments: Sequence[str]) -> list[str]:
    """The words of a command line that Hydra composes a configuration from.

    ``resume=RUN`` and ``rerun=RUN`` change the configuration that RUN was started with. Hydra would compare
    the changes with this program's defaults, which lack ``data.root``, say; so it gets none of them, and
    :func:`typed_overrides` returns them.

    Args:
        arguments: all words, without the program's name.
    """
    return [word for word in arguments if word not in _withheld(arguments)]


def typed_overrides() -> list[str]:
    """The overrides of this program's task, as typed."""
    return [*HydraConfig.get().overrides.task, *_withheld(sys.argv[1:])]


def _withheld(arguments: Sequence[str]) -> list[str]:
    keys = {word: _key(word) for word in arguments}
    names_a_run = any(
        key in ("resume", "rerun") and word.partition("=")[2] not in ("", "null", "auto")
        for word, key in keys.items()
    )
    is_sweep = any(word in ("-m", "--multirun", "hydra.mode=MULTIRUN") for word in arguments)
    if not names_a_run or is_sweep:
        return []
    kept = ("resume", "rerun", "hydra")
    return [word for word, key in keys.items() if key and re.split(r"[./]", key)[0] not in kept]


def _key(word: str) -> str | None:
    """What an override is of; None for flags and their values."""
    parsed = _OVERRIDE.fullmatch(word)
    if parsed is None or (parsed["value"] is None and parsed["sign"] != "~"):
        return None
    return parsed["key"]
