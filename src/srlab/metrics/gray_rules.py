"""Which gray rule recorded scores were obtained under, those from before it could be chosen included."""

from collections.abc import Mapping, Sequence
from typing import Any

from srlab.config import ColorSpace, GrayRule

__all__ = ["earlier_gray_rule", "recorded_gray_rule"]


def earlier_gray_rule(color: str | None) -> GrayRule:
    """The rule of protocols that name none: a gray reference was its own luma, and replicated in RGB.

    Args:
        color: name of a :class:`ColorSpace`; None where the record lacks it, too.
    """
    return GrayRule.replicate if color == ColorSpace.rgb.name else GrayRule.own


def recorded_gray_rule(means: Sequence[Mapping[str, Any]], protocol: Mapping[str, Any]) -> str | None:
    """Name of the rule behind the scores of a ``summary.json``; None if no image among them is gray.

    Args:
        means: of the sets; without their ``gray_images`` nobody knows, and the rule counts.
        protocol: its settings; without ``gray`` they are of before that could be chosen.
    """
    if means and all(mean.get("gray_images") == [] for mean in means):
        return None
    return protocol.get("gray") or earlier_gray_rule(protocol.get("color")).name
