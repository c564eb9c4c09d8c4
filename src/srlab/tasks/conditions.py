"""The conditions that travel with every number: what ran, where, when, from which sources."""

import platform
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version

import torch

from srlab.extensions.lab.costs import Costs
from srlab.ops.subnormals import subnormal_mode
from srlab.runs.provenance import source_commit

__all__ = ["Conditions", "describe_conditions", "source_commit"]


@dataclass(frozen=True)
class Conditions:
    """Of one network's evaluation."""

    model: str
    checkpoint: str
    """What the weights are: a path, a published file's name, or ``none`` for bicubic."""
    date: str
    srlab_version: str
    commit: str | None
    torch_version: str
    python_version: str
    subnormals: str
    """``flushed`` or ``kept``."""
    costs: Costs | None
    """None where they were not measured."""
    preset: str | None
    """The preset that this is a trained network of, under whose name papers' scores are looked up."""
    training: str | None
    """What the weights were trained on, where that is known."""
    device: str | None
    """That the images were restored on."""
    seed: int | None
    """Of the training that made the weights, where that is known."""


def describe_conditions(
    *,
    model: str,
    checkpoint: str,
    costs: Costs | None,
    preset: str | None = None,
    training: str | None = None,
    device: str | None = None,
    seed: int | None = None,
) -> Conditions:
    """Add date, versions and commit to what the caller measured.

    ``preset`` is None for random weights and for networks that nobody published.
    """
    return Conditions(
        model=model,
        checkpoint=checkpoint,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        srlab_version=_installed_version(),
        commit=source_commit(),
        torch_version=torch.__version__,
        python_version=platform.python_version(),
        subnormals=subnormal_mode(),
        costs=costs,
        preset=preset,
        training=training,
        device=device,
        seed=seed,
    )


def _installed_version() -> str:
    try:
        return version("srlab")
    except PackageNotFoundError:
        return "not installed"
