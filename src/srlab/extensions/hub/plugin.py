"""Registers repositories of the Hugging Face Hub with ``load_model``."""

import re
from pathlib import Path

from srlab.models.sources import MODEL_SOURCES

# user/repo or user/repo@revision, and no file of a folder: those have suffixes, or a folder that exists
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
_FILE_SUFFIXES = (".ckpt", ".pt", ".pth", ".safetensors", ".bin", ".zip", ".tar", ".gz")


def _from_hub(name: str) -> Path | None:
    is_file = name.endswith(_FILE_SUFFIXES) or Path(name).parent.is_dir()
    if is_file or not _REPOSITORY.fullmatch(name):
        return None
    from srlab.extensions.hub.repositories import download_repository

    return download_repository(name)


MODEL_SOURCES.register("hub", _from_hub)
