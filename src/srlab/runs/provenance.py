"""Which sources srlab runs from; no torch, so that programs that only start others can say it too."""

import subprocess
from pathlib import Path

import srlab

__all__ = ["source_commit"]


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
