"""Checks of constructor arguments."""

import math
from collections.abc import Sequence


def require_integer(name: str, value: object, *, minimum: int = 1) -> int:
    """``value`` if it is an integer of at least ``minimum``, else a ValueError that names it."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {value!r}")
    return value


def require_integers(name: str, values: Sequence[int]) -> tuple[int, ...]:
    """``values`` if it is a list of at least one positive integer, else a ValueError that names it."""
    if isinstance(values, (str, int)) or not len(values):
        raise ValueError(f"{name} must be a list of at least one integer, got {values!r}")
    return tuple(require_integer(f"{name}[{index}]", value) for index, value in enumerate(values))


def require_counts(**values: object) -> None:
    """A ValueError unless all are positive integers."""
    for name, value in values.items():
        require_integer(name, value)


def require_entries(part: str, **lists: Sequence[int]) -> list[tuple[int, ...]]:
    """For every ``part`` of a network its entries of all lists, positive integers, else a ValueError."""
    checked = [require_integers(name, values) for name, values in lists.items()]
    if len(set(map(len, checked))) > 1:
        counts = " and ".join(f"{name} has {len(values)} entries" for name, values in lists.items())
        raise ValueError(f"{counts}; give one of each for every {part}")
    return list(zip(*checked, strict=True))


def require_positive(name: str, value: object) -> float:
    """``value`` if it is a finite number above 0, else a ValueError that names it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number above 0, got {value!r}")
    return value


def require_channels(name: str, ratio: float, dim: int) -> int:
    """``ratio`` times ``dim``, cut off to an integer, if this is a channel at least, else a ValueError."""
    channels = int(dim * ratio)
    if channels < 1:
        raise ValueError(f"{name}={ratio} leaves no channel of dim={dim}; use at least {1 / dim:.3g}")
    return channels
