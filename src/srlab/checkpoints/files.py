"""Files on the disk: their content, or why they cannot be read. Pickles are only read as data."""

import argparse
import errno
import json
import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from srlab.checkpoints.file_kinds import HEAD_BYTES, other_kind

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


# What PyTorch's reader was seen to raise on truncated files and on pickles that it did not write; besides,
# an OSError with EINVAL for a seek to a place before the file.
_DAMAGE = (
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    struct.error,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)
# How files begin: PyTorch's before version 1.6, and what is taken for one by mistake.
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
        start = stream.read(HEAD_BYTES)
    if _begins_safetensors(start):
        return _read_safetensors(file)
    foreign = other_kind(file, start)
    if foreign:
        raise ValueError(f"{file} is {foreign}; {known}")
    try:
        # a stream: given a path, PyTorch goes by its suffix
        with torch.serialization.safe_globals(_INERT_GLOBALS), file.open("rb") as stream:
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise _unreadable(file, start, error, known) from error
    except _DAMAGE as error:
        raise _unreadable(file, start, error, known) from error
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
    return {
        OUR_ENTRY: description,
        "state_dict": {f"{OUR_PREFIX}{key}": value for key, value in tensors.items()},
    }


def _begins_safetensors(start: bytes) -> bool:
    """The length of a header, and the header's first brace."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _LARGEST_SAFETENSORS_HEADER


def _unreadable(file: Path, start: bytes, error: Exception, known: str) -> ValueError:
    """Why PyTorch could not read a file that looked like one of its own."""
    code = re.search(r"GLOBAL (\S+)", str(error))
    if code:
        return ValueError(
            f"{file} asks for {code[1]}, which could run code; only tensors and plain data are read. "
            "Save the state dict alone, as tensors"
        )
    if start.startswith(b"\x80") and not start.startswith(_LEGACY_START[: len(start)]):
        return ValueError(
            f"{file} is a pickle that torch.save did not write; it could run code and is not read; {known}"
        )
    return _damaged(file, error)


def _damaged(file: Path, error: Exception) -> ValueError:
    """For a file of a known format that breaks off or contradicts itself."""
    reason = str(error).split(". ")[0] or type(error).__name__
    size = file.stat().st_size
    return ValueError(f"{file} is truncated or damaged ({size} bytes; {reason}); download or copy it again")
