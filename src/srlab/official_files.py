"""Published files that do not come with srlab, found by name and checked by SHA-256."""

import hashlib
from pathlib import Path


def official_folder() -> Path:
    """Where torchvision keeps its downloads; TORCH_HOME moves it."""
    import torch  # here: file_digest() is asked for without torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def file_digest(path: Path, kind: str = "sha256") -> str:
    """Hexadecimal digest of a file, which need not fit into memory; ``kind`` as for ``hashlib.new``."""
    digest = hashlib.new(kind)
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def official_file(file: str | Path, *, sha256: str, url: str, needed_by: str, remedy: str) -> Path:
    """The path of a file whose content is the published one.

    Args:
        file: its name in :func:`official_folder`, or a path.
        sha256: of its content, or how that begins.
        url: where it is published.
        needed_by: what needs it, for messages.
        remedy: what to do without it, for messages.

    Raises:
        FileNotFoundError: it is missing; the message names source and place.
        ValueError: it has other content.
    """
    path = official_folder() / file
    if not path.is_file():
        raise FileNotFoundError(
            f"{needed_by} needs {path.name}: download {url} into {path.parent} (TORCH_HOME moves that "
            f"folder), or {remedy}"
        )
    if not (found := file_digest(path)).startswith(sha256):
        raise ValueError(
            f"{path} is not the official file: its SHA-256 begins with {found[:8]}, not {sha256[:8]}; "
            f"download {url} again"
        )
    return path
