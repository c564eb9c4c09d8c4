"""The conditions of a score: network, device, date, commit and versions."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import torch

import srlab
from srlab.ops.subnormals import subnormal_mode
from srlab.runs.provenance import source_commit
from srlab.tasks.costs import Costs

# What papers call the data that data=… trains on; other choices are called by their own names.
_TRAINING_DATA = {"div2k": "DIV2K", "df2k": "DF2K"}


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Of one network's evaluation.

    Attributes:
        model: its name in tables.
        checkpoint: what the weights are: a path, a published file's name, or ``none`` for bicubic.
        device: that the images were restored on.
        preset: that this is a trained network of, by which published scores are found; None for random
            weights and unpublished networks.
        training: data that the weights were trained on, if known.
        seed: of the training that made the weights, if known.
        trained_range: least and largest scale of the training, of a network of any scale, if known.
        costs: None if not measured.
        subnormals: ``flushed`` or ``kept``.
    """

    model: str
    checkpoint: str
    device: str | None = None
    preset: str | None = None
    training: str | None = None
    seed: int | None = None
    trained_range: tuple[float, float] | None = None
    costs: Costs | None = None
    date: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    srlab_version: str = srlab.__version__
    commit: str | None = field(default_factory=source_commit)
    torch_version: str = str(torch.__version__)
    python_version: str = field(default_factory=platform.python_version)
    subnormals: str = field(default_factory=subnormal_mode)

    def seen(self, scale: float) -> str | None:
        """``seen`` if the training had such scales, else ``unseen``; None if that is not known."""
        if self.trained_range is None:
            return None
        return "seen" if self.trained_range[0] <= scale <= self.trained_range[1] else "unseen"

    def record(self) -> dict[str, Any]:
        """For JSON files."""
        return {**vars(self), "costs": None if self.costs is None else self.costs.merged("record")}


def training_data(config: Mapping[str, Any] | None) -> str | None:
    """What a run's configuration trains on, by the name that papers use; None without a configuration."""
    target = ((config or {}).get("data") or {}).get("_target_")
    choice = str(target).rpartition(".")[-1]
    return None if target is None else _TRAINING_DATA.get(choice, choice)
