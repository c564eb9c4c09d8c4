"""Registers the catalogue's names with ``load_model``."""

from pathlib import Path

from srlab.models.sources import MODEL_SOURCES


def _downloaded(name: str) -> Path | None:
    from srlab.extensions.downloads.weights import downloaded

    return downloaded(name)


MODEL_SOURCES.register("downloads", _downloaded)
