"""Scores that count gray references in one way never stand beside scores that count them in the other."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from srlab.extensions.report.runs import Run
from srlab.metrics.protocol import GrayRule, recorded_gray_rule

__all__ = [
    "configured_gray_rule",
    "gray_rule_warnings",
    "is_gray_rule",
    "scored_under",
    "under_one_gray_rule",
]

_REPLICATE, _OWN = GrayRule.replicate.name, GrayRule.own.name
_COUNTED = {_REPLICATE: "as three equal channels", _OWN: "as their own luma"}


def is_gray_rule(key: str) -> bool:
    """Whether a configuration's key is a protocol's ``gray``."""
    return key.startswith("protocol.") and key.endswith(".gray")


def configured_gray_rule(config: Mapping[str, Any]) -> str | None:
    """The rule of a run whose images nobody knows; None without a protocol.

    Args:
        config: flat.
    """
    protocol = {key.rpartition(".")[2]: value for key, value in config.items() if key.startswith("protocol.")}
    return recorded_gray_rule((), protocol) if protocol else None


def under_one_gray_rule(runs: Sequence[Run]) -> list[Run]:
    """``runs``; where their rules differ, those that do not replicate are left without scores."""
    if len({run.gray_rule for run in runs} - {None}) < 2:
        return list(runs)
    return [_without_scores(run) if run.gray_rule == _OWN else run for run in runs]


def gray_rule_warnings(runs: Sequence[Run], kept: Sequence[Run]) -> list[str]:
    """One sentence if :func:`under_one_gray_rule` left scores out.

    Args:
        runs: what it was given.
        kept: what it gave back.
    """
    left_out = sum(before.finished and not after.finished for before, after in zip(runs, kept, strict=True))
    if not left_out:
        return []
    return [
        f"scores of {left_out} of {len(runs)} runs are left out: they count gray images {_COUNTED[_OWN]}, or "
        f"may (gray={_OWN}, the rule of records that name none), the others {_COUNTED[_REPLICATE]}; "
        "evaluate.py checkpoint=RUN scores them again"
    ]


def scored_under(runs: Sequence[Run]) -> str:
    """The protocols of ``runs`` in words, and how gray images count where there may be any."""
    protocols = sorted({run.protocol for run in runs if run.protocol})
    rules = sorted({run.gray_rule for run in runs if run.finished and run.gray_rule})
    gray = "".join(f", gray images {_COUNTED[rule]}" for rule in rules)
    return (" and ".join(protocols) or "an unknown protocol") + gray


def _without_scores(run: Run) -> Run:
    return replace(
        run,
        state=f"gray={_OWN}" if run.finished else run.state,
        scores={},
        bicubic={},
        images=(),
        curves={name: curve for name, curve in run.curves.items() if not name.startswith("val/")},
    )
