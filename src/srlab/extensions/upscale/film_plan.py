"""Which inputs are films, and the names of the results."""

from collections.abc import Sequence
from pathlib import Path

CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
    ".ts": "mpegts",
}
"""FFmpeg's names of containers by the suffixes of files, in lower case."""


def are_films(inputs: Sequence[Path]) -> bool:
    """Whether the inputs are films, by their suffixes.

    Raises:
        FileNotFoundError: one does not exist.
        ValueError: some are films and some are not.
    """
    for path in inputs:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist (a pattern in quotes is not expanded)")
    films = [path for path in inputs if path.suffix.lower() in CONTAINERS and not path.is_dir()]
    if films and len(films) < len(inputs):
        raise ValueError(f"{films[0]} is a film and others are not; give films and pictures in two commands")
    return bool(films)


def plan_films(
    inputs: Sequence[Path], out: Path | None, suffix: str | None, target: str, *, overwrite: bool
) -> list[tuple[Path, Path]]:
    """Inputs with their outputs.

    Args:
        inputs: films.
        out: folder, or file for a single film; None: beside each film.
        suffix: appended to names; None: ``_`` and ``target`` if ``out`` is None.
        target: such as ``x4``.
        overwrite: whether outputs may be there.

    Raises:
        FileExistsError: an output is there.
        ValueError: two outputs of one name, one that would replace an input, or an unknown container.
    """
    if out is not None and out.suffix and not out.is_dir():
        outputs = [_single(inputs, out, suffix)]
    else:
        appended = suffix if suffix is not None else f"_{target}" if out is None else ""
        outputs = [(out or path.parent) / f"{path.stem}{appended}{path.suffix}" for path in inputs]
    originals = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in originals:
            raise ValueError(f"{path} would replace an input; give --out or --suffix")
        if outputs.count(path) > 1:
            raise ValueError(f"several films would become {path}; enlarge them in several commands")
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} is there already; --overwrite replaces it")
    return list(zip(inputs, outputs, strict=True))


def _single(inputs: Sequence[Path], out: Path, suffix: str | None) -> Path:
    if out.suffix.lower() not in CONTAINERS:
        raise ValueError(f"--out {out}: a film's suffix is one of {', '.join(CONTAINERS)}")
    if len(inputs) > 1:
        raise ValueError(f"--out {out} is the name of one file, but several films need a folder")
    if suffix is not None:
        raise ValueError(f"--out {out} is the whole name; leave --suffix out")
    return out
