"""The conditions that travel with every number: what ran, where, when, from which sources."""

import platform
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import srlab
from srlab.profiling.costs import Costs

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
    costs: Costs | None
    """None where they were not measured."""
    preset: str | None
    """The preset that this is a trained network of, under whose name papers' scores are looked up."""
    training: str | None
    """What the weights were trained on, where that is known."""


def describe_conditions(
    *,
    model: str,
    checkpoint: str,
    costs: Costs | None,
    preset: str | None = None,
    training: str | None = None,
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
        costs=costs,
        preset=preset,
        training=training,
    )


def source_commit() -> str | None:
    """Commit of the checkout that srlab runs from, ``+changes`` if files differ from it; None without one.

    An srlab installed into an environment that lies in some other project's checkout is not of that checkout.
    """
    package = Path(srlab.__file__).resolve().parent
    toplevel = _git(package, "rev-parse", "--show-toplevel")
    if toplevel is None or Path(toplevel).resolve() / "src" / "srlab" != package:
        return None
    commit = _git(package, "rev-parse", "HEAD")
    if commit is None:
        return None
    return commit + "+changes" if _git(package, "status", "--porcelain", "--untracked-files=no") else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def _installed_version() -> str:
    try:
        return version("srlab")
    except PackageNotFoundError:
        return "not installed"
