"""Folders with ``config.json`` and ``model.safetensors``, as the Hugging Face Hub holds networks."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srlab.atomic_files import atomic_write
from srlab.models.registry import comparable
from srlab.official_files import file_digest

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def checked_weights(folder: Path) -> Path:
    """The file of weights, once it is known to be the one that ``config.json`` describes.

    Raises:
        ValueError: they do not belong together, or ``config.json`` is not one that srlab wrote.
    """
    weights, config = folder / WEIGHTS_FILE, folder / CONFIG_FILE
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        expected = content["srlab"]["sha256"]
    except FileNotFoundError:
        return weights  # they describe themselves
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{config} was not written by srlab ({type(error).__name__}: {error}); if {WEIGHTS_FILE} is of a "
            f"network of srlab, load that file: {weights}"
        ) from error
    if (found := file_digest(weights)) != expected:
        raise ValueError(
            f"{weights} has sha256 {found}, {config} describes {expected}: one of them was replaced or is "
            "damaged; get both again"
        )
    return weights


def write_config(folder: Path, description: Mapping[str, Any]) -> None:
    """Write ``config.json`` for the weights in ``folder``: sorted keys, a form that others can read too.

    Args:
        folder: holds the weights.
        description: of :func:`srlab.checkpoints.read_checkpoint`; its ``model`` is written.
    """
    model = comparable(description["model"])
    content = {
        "architectures": [str(model["_target_"]).rpartition(".")[-1]],
        "library_name": "srlab",
        "model": model,
        "scale": model.get("scale"),
        "srlab": {"format": 1, "sha256": file_digest(folder / WEIGHTS_FILE)},
    }
    with atomic_write(folder / CONFIG_FILE) as partial:
        partial.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
