"""Reads the content of checkpoint files, or raises an error. Pickles are read as data only."""

import argparse
import errno
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from srlab.terminal.names import some

#: Our entry in a Lightning checkpoint and in the metadata of a safetensors file: a plain dictionary with the
#: model's description, protocol and versions.
OUR_ENTRY = "srlab"
#: What stands before the network's keys in the state dict of a Lightning checkpoint.
OUR_PREFIX = "network."

# Training scripts leave numpy numbers among their statistics, and their options. These constructors make
# numbers, or an object with attributes, and do nothing else; the second name is the one that numpy 1 wrote.
_SCALAR = np.float64(0).__reduce__()[0]
_INERT_GLOBALS = [
    _SCALAR,
    (_SCALAR, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4")),
    argparse.Namespace,
]

# First bytes of files that are taken for checkpoints, and what follows "is".
_UNPACK = "archive; unpack it, and give the checkpoint inside"
_SAVE_STATE = "save its state dict by torch.save or as safetensors"
_SIGNATURES = {
    b"\x1f\x8b": f"a gzip {_UNPACK}",
    b"BZh": f"a bzip2 {_UNPACK}",
    b"\xfd7zXZ\x00": f"an xz {_UNPACK}",
    b"\x28\xb5\x2f\xfd": f"a zstd {_UNPACK}",
    b"7z\xbc\xaf\x27\x1c": f"a 7z {_UNPACK}",
    b"Rar!": f"a rar {_UNPACK}",
    b"\x93NUMPY": "a NumPy array, not a checkpoint",
    b"\x89HDF\r\n\x1a\n": f"an HDF5 file, as Keras and MATLAB write; in PyTorch, {_SAVE_STATE}",
    b"\x89PNG\r\n\x1a\n": "a PNG image, not a checkpoint",
    b"\xff\xd8\xff": "a JPEG image, not a checkpoint",
}
_HEAD_BYTES = 512
# How PyTorch's files before version 1.6 begin.
_LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_LARGEST_SAFETENSORS_HEADER = 100_000_000
_READABLE = (
    "known are checkpoints and run folders of srlab, and state dicts of its networks by torch.save "
    "or as safetensors (docs/networks.md)"
)


def read_file(file: Path, *, known: str = _READABLE) -> dict[str, Any]:
    """The file's top level.

    A safetensors file of ours is given the layout of our checkpoints; any other is a dictionary of tensors.

    Args:
        file: must exist.
        known: which files can be read, for the message about one that cannot.

    Raises:
        ValueError: empty, damaged, no checkpoint, or one that would have to run code.
    """
    with file.open("rb") as stream:  # a file that cannot be opened is not called damaged
        head = stream.read(_HEAD_BYTES)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LARGEST_SAFETENSORS_HEADER:
        return _read_safetensors(file)
    if foreign := _other_kind(file, head):
        raise ValueError(f"{file} is {foreign}; {known}")
    try:
        # a stream: given a path, PyTorch goes by its suffix
        with torch.serialization.safe_globals(_INERT_GLOBALS), file.open("rb") as stream:
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # a dozen types for truncated files and pickles that PyTorch did not write
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # that one: a seek before the file
            raise
        raise _unreadable(file, head, error, known) from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a {type(content).__name__}, expected a dictionary of tensors")
    return content


def _read_safetensors(file: Path) -> dict[str, Any]:
    """All tensors, with the description of their network if the file has one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as archive:
            metadata = archive.metadata() or {}
            tensors = {key: archive.get_tensor(key) for key in archive.keys()}  # noqa: SIM118 no mapping
        if OUR_ENTRY not in metadata:
            return tensors
        description = json.loads(metadata[OUR_ENTRY])
    except (SafetensorError, json.JSONDecodeError, RecursionError) as error:
        raise _damaged(file, error) from error
    weights = {f"{OUR_PREFIX}{key}": value for key, value in tensors.items()}
    return {OUR_ENTRY: description, "state_dict": weights}


def _other_kind(file: Path, head: bytes) -> str | None:
    """What the file is and a remedy, after "is"; None if it may be a checkpoint."""
    if not head:
        return "empty; download or copy it again"
    if head.startswith(b"PK"):
        return _kind_of_zip(file)
    if head.startswith(b"\x80"):
        return None
    known = (kind for start, kind in _SIGNATURES.items() if head.startswith(start))
    begins = f"no checkpoint: it begins with {head[:8].hex(' ')}, as no known format does"
    return next(known, None) or _kind_of_text(file, head) or begins


def _kind_of_zip(file: Path) -> str | None:
    """What a complete zip archive is if torch.save did not write it."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):  # PyTorch's reader says more
        return None
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        return f"a TorchScript archive, which holds code; load it by torch.jit.load, and {_SAVE_STATE}"
    if any(name.endswith("data.pkl") for name in names):
        return None
    return f"a zip archive, not a checkpoint; it holds {some(names) or 'nothing'}"


def _kind_of_text(file: Path, head: bytes) -> str | None:
    """What a text file is, such as what servers send in place of a file; None if the bytes are no text."""
    text = head.decode("utf-8-sig", errors="replace")
    if not all(letter.isprintable() or letter.isspace() for letter in text):
        return None
    if text.startswith("version https://git-lfs"):
        size = file.stat().st_size
        return f"a Git LFS pointer ({size} bytes), not the file itself: run `git lfs pull` in its repository"
    is_page = re.search(r"<(!doctype html|html|head|body)\b", text, re.IGNORECASE)
    remedy = ": a web page. Download the file itself" if is_page else ""
    return f"text, not a checkpoint; it begins {text.lstrip()[:30]!r}{remedy}"


def _unreadable(file: Path, head: bytes, error: Exception, known: str) -> ValueError:
    """Why PyTorch could not read a file that looked like one of its own."""
    if code := re.search(r"GLOBAL (\S+)", str(error)):
        return ValueError(
            f"{file} asks for {code[1]}, which could run code; only tensors and plain data are read. "
            "Save the state dict alone, as tensors"
        )
    if head.startswith(b"\x80") and not head.startswith(_LEGACY_START[: len(head)]):
        return ValueError(
            f"{file} is a pickle that torch.save did not write; it could run code and is not read; {known}"
        )
    return _damaged(file, error)


def _damaged(file: Path, error: Exception) -> ValueError:
    """For a file of a known format that breaks off or contradicts itself."""
    reason = str(error).split(". ")[0] or type(error).__name__
    size = file.stat().st_size
    return ValueError(f"{file} is truncated or damaged ({size} bytes; {reason}); download or copy it again")
