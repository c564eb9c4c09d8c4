"""What is known of a layout: which keys tell it, and how they become the network's official ones."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from srlab.checkpoints.layouts.mean_shift import absorb_mean_shift
from srlab.models.network import Network

__all__ = ["Layout"]

# What templates stand for: a module's number, and the last part of a key.
_PATTERNS = {"{}": r"(\d+)", "*": r"([^.]+)"}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The key names of one code base for one network.

    Args:
        name: what messages call it.
        network: the class of ours that computes the same function.
        landmarks: keys that only this layout has together, the most distinctive one first.
        names: pairs of key templates, this layout's and the network's official one. ``{}`` stands for a
            number, ``*`` for the last part of a key; they keep their order. Other keys stay as they are.
        arguments: constructor arguments that this code base sets otherwise than the official one.
        shifts_mean: whether the file may hold the mean colour, as EDSR's own does.
        refusal: why its function cannot be represented, and what can be read instead; empty if it can.
    """

    name: str
    network: type[Network]
    landmarks: tuple[str, ...]
    names: tuple[tuple[str, str], ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    shifts_mean: bool = False
    refusal: str = ""

    def official_name(self, key: str) -> str:
        """The network's official name of a key in the file."""
        return _translate(key, self.names)

    def name_in_file(self, official: str) -> str:
        """The way back, for messages; a number that the official name does not tell is ``N``."""
        return _translate(official, ((theirs, ours) for ours, theirs in self.names))

    def read(self, official: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any], set[str]]:
        """What of ``official``, under official names, is not only a matter of names.

        Returns:
            The weights for the official layout, constructor arguments that differ from what the network reads
            off it, and which of these the file tells.
        """
        if not self.shifts_mean:
            return dict(official), dict(self.arguments), set()
        weights, shift = absorb_mean_shift(official)
        arguments = {**self.arguments, "mean": list(shift.mean), "value_range": shift.value_range}
        return weights, arguments, {"mean", "value_range"} if shift.is_known else set()


def _translate(key: str, names: Iterable[tuple[str, str]]) -> str:
    """``key`` by the first pair of templates whose first one it matches."""
    for template, replacement in names:
        parts = re.split(r"(\{\}|\*)", template)
        found = re.fullmatch("".join(_PATTERNS.get(part) or re.escape(part) for part in parts), key)
        if found:
            *numbers, last = (*found.groups(), "") if "*" not in template else found.groups()
            for number in numbers:
                replacement = replacement.replace("{}", number, 1)
            return replacement.replace("{}", "N").replace("*", last)
    return key
