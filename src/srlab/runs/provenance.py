"""Commit and versions, which every record and checkpoint contains."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import srlab


def provenance() -> dict[str, str | None]:
    """Versions of srlab and of what it computes with, its commit, and the processor's mode of subnormals."""
    from srlab.ops.subnormals import subnormal_mode  # here: source_commit() is asked for without torch

    return {
        "srlab": srlab.__version__,
        "commit": source_commit(),
        "torch": version("torch"),
        "lightning": version("lightning"),
        "python": platform.python_version(),
        "subnormals": subnormal_mode(),
    }


def source_commit() -> str | None:
    """Commit of the checkout that srlab runs from, with ``+changes`` if files differ from it; else None.

    An srlab that is installed inside another project's checkout has no commit.
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
