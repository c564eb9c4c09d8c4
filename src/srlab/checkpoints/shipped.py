"""Trained networks that come with srlab: ``srlab/weights/<preset>_x<scale>.safetensors``."""

import re
from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "weights"


def shipped_weights() -> dict[str, dict[int, Path]]:
    """All of them, by preset and scale."""
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(_FOLDER.glob("*.safetensors")):
        if name := re.fullmatch(r"(.+)_x(\d+)", path.stem):
            found.setdefault(name[1], {})[int(name[2])] = path
    return found


def shipped_file(name: str, scale: int | None) -> Path | None:
    """The weights called ``name``, such as ``elan_tiny`` or ``elan_tiny_x2``; None if none are called so.

    Raises:
        ValueError: they exist for other scales, or for several and ``scale`` is None.
    """
    shipped = shipped_weights()
    if name not in shipped:
        paths = (path for files in shipped.values() for path in files.values())
        return next((path for path in paths if path.stem == name), None)
    files, one = shipped[name], min(shipped[name])
    if scale is None and len(files) == 1:
        return files[one]
    if scale not in files:
        fault = f"add scale={one} or --scale {one}" if scale is None else f"not for scale={scale}"
        raise ValueError(
            f"srlab has weights of {name} for {', '.join(f'x{each}' for each in files)}: {fault}"
        )
    return files[scale]
