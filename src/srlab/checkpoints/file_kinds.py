"""Files that are no checkpoints: what they are, from how they begin, and what to do about it."""

import re
import tarfile
import zipfile
from pathlib import Path

from srlab.checkpoints.layouts.keys import first_few

#: How much of a file's beginning :func:`other_kind` looks at.
HEAD_BYTES = 512

_SAVE_STATE = "save its state dict by torch.save or as safetensors"
_UNPACK = "unpack it, and give the checkpoint inside"

# First bytes, and what follows "is".
_SIGNATURES = (
    (b"\x1f\x8b", f"a gzip archive; {_UNPACK}"),
    (b"BZh", f"a bzip2 archive; {_UNPACK}"),
    (b"\xfd7zXZ\x00", f"an xz archive; {_UNPACK}"),
    (b"\x28\xb5\x2f\xfd", f"a zstd archive; {_UNPACK}"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7z archive; {_UNPACK}"),
    (b"Rar!", f"a rar archive; {_UNPACK}"),
    (b"\x93NUMPY", "a NumPy array, not a checkpoint"),
    (b"\x89HDF\r\n\x1a\n", f"an HDF5 file, as Keras and MATLAB write; in PyTorch, {_SAVE_STATE}"),
    (b"MATLAB ", f"a MATLAB file; in PyTorch, {_SAVE_STATE}"),
    (b"GGUF", "a GGUF file, not a checkpoint of PyTorch"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image, not a checkpoint"),
    (b"\xff\xd8\xff", "a JPEG image, not a checkpoint"),
    (b"%PDF-", "a PDF document, not a checkpoint"),
    (b"\x7fELF", "a program, not a checkpoint"),
)
_TAR_MAGIC = slice(257, 262)
_TORCH_TAR = {"pickle", "storages", "tensors"}
# A Protocol Buffers message of small integer fields and the name of its producer, or its graph.
_ONNX = re.compile(rb"\x08[\x01-\x20](\x12[\x00-\x7f]|:)", re.DOTALL)
_TENSORFLOW = re.compile(rb"\x08[\x00-\x20]\x12.{1,3}\n", re.DOTALL)
_TORCH7 = re.compile(rb"\A[\x03\x04]\0\0\0.{0,16}V 1|\A[\x03\x04]\0\0\0.{0,24}(torch|nn)\.", re.DOTALL)
_UTF8_TAIL = 3


def other_kind(file: Path, head: bytes) -> str | None:
    """What the file is and a remedy, after "is"; None if it may be a checkpoint.

    Args:
        file: must exist.
        head: its first :data:`HEAD_BYTES`.
    """
    if not head:
        return "empty; download or copy it again"
    if head.startswith(b"PK"):
        return _kind_of_zip(file)
    if head.startswith(b"\x80"):
        return None
    known = next((kind for start, kind in _SIGNATURES if head.startswith(start)), None)
    return known or _kind_of_model(file, head) or _kind_of_text(file, head) or _unknown(head)


def _unknown(head: bytes) -> str:
    return f"no checkpoint: it begins with {head[:8].hex(' ')}, as no known format does"


def _kind_of_zip(file: Path) -> str | None:
    """What a complete zip archive is if torch.save did not write it."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):  # PyTorch's reader says more
        return None
    if any(name.endswith(("/constants.pkl", "/bytecode.pkl")) or "/code/" in name for name in names):
        return f"a TorchScript archive, which holds code; load it by torch.jit.load, and {_SAVE_STATE}"
    if any(name.endswith((".export.json", "exported_program.json", "archive_format")) for name in names):
        return f"a program written by torch.export, not weights; {_SAVE_STATE}"
    if any(name.endswith("data.pkl") for name in names):
        return None
    if any(name.endswith("model.weights.h5") for name in names):
        return f"a Keras model; in PyTorch, {_SAVE_STATE}"
    kind = "NumPy" if any(name.endswith(".npy") for name in names) else "zip"
    inside = [name for name in names if name.endswith((".pth", ".pt", ".ckpt", ".safetensors"))]
    remedy = f"; {_UNPACK}" if inside else ""
    return f"a {kind} archive, not a checkpoint; it holds {first_few(inside or names) or 'nothing'}{remedy}"


def _kind_of_model(file: Path, head: bytes) -> str | None:
    """A model in a format without fixed first bytes."""
    if head[_TAR_MAGIC] == b"ustar":
        return _kind_of_tar(file)
    if head[4:8] == b"TFL3":
        return f"a TensorFlow Lite model; in PyTorch, {_SAVE_STATE}"
    if _TORCH7.search(head):
        return f"a file of Lua's Torch7, which PyTorch no longer reads; in PyTorch, {_SAVE_STATE}"
    if _ONNX.match(head) and (file.suffix == ".onnx" or b"pytorch" in head or b"onnx" in head.lower()):
        return f"an ONNX model, which holds a graph; {_SAVE_STATE} where it was exported from"
    if file.suffix == ".pb" or _TENSORFLOW.match(head):
        return f"a TensorFlow graph; in PyTorch, {_SAVE_STATE}"
    return None


def _kind_of_tar(file: Path) -> str:
    """A tar archive: PyTorch's first format, or any."""
    try:
        with tarfile.open(file) as archive:
            names = archive.getnames()
    except (tarfile.TarError, OSError, EOFError):
        return "a damaged tar archive; download or copy it again"
    if set(names) >= _TORCH_TAR:
        return f"of PyTorch before 0.2 (a tar archive); load it there or by torch.load, and {_SAVE_STATE}"
    return f"a tar archive; it holds {first_few(names) or 'nothing'}; {_UNPACK}"


def _kind_of_text(file: Path, head: bytes) -> str | None:
    """What a text file is; None if the bytes are no text."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:  # the head may end inside a letter
        if error.start < len(head) - _UTF8_TAIL or len(head) < HEAD_BYTES:
            return _kind_of_markup(head.decode("latin-1"))
        text = head[: error.start].decode("utf-8-sig")
    if not all(letter.isprintable() or letter.isspace() for letter in text):
        return _kind_of_markup(text)
    if text.startswith("version https://git-lfs"):
        return (
            f"a Git LFS pointer ({file.stat().st_size} bytes), not the file that it stands for: "
            "run `git lfs pull` in its repository"
        )
    return _kind_of_markup(text) or f"text, not a checkpoint; it begins {text[:30]!r}"


def _kind_of_markup(text: str) -> str | None:
    """A web page, in whatever encoding: what servers send in place of a file."""
    if re.match(r"\s*(<!--.*?-->\s*)?<(!doctype html|html|head|body)\b", text, re.IGNORECASE | re.DOTALL):
        return (
            f"text, not a checkpoint; it begins {text.lstrip()[:30]!r}: a web page. Download the file itself"
        )
    return None
