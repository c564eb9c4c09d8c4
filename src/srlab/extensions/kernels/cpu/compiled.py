"""The kernels' shared library: built once for a machine and compiler, kept in the user's cache folder."""

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from srlab.locks import locked_work

log = logging.getLogger(__name__)

_HERE = Path(__file__).parent
_SOURCES = (
    "local_features.cpp",
    "shift_convolution.cpp",
    "window_attention.cpp",
    "window_attention_gradient.cpp",
)
_FLAGS = (
    "-std=c++17",
    "-O3",
    "-march=native",
    "-fPIC",
    "-fopenmp",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
)
_SECONDS = 300  # a compiler that takes longer hangs

# Arguments of each function: p a pointer, i an integer, f a float.
_SIGNATURES = {
    "packed_rows": "",
    "local_features_scratch": "iiiiii",
    "local_features": "ppppppiiiiii",
    "shift_convolution_scratch": "iiiiii",
    "shift_convolution": "pppppiiiiiiii",
    "shift_convolution_gradient": "pppppppiiiiiiii",
    "window_attention_scratch": "iii",
    "window_attention": "ppppiippiiifii",
    "window_attention_gradient_scratch": "iii",
    "window_attention_gradient": "pppippiiifi",
    "window_attention_bias_side": "i",
    "window_attention_takes_distances": "i",
}
_TYPES = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "f": ctypes.c_float}


class NativeUnavailableError(RuntimeError):
    """The kernels cannot be built or loaded here; the message gives the reason."""


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """The loaded library.

    It uses the OpenMP runtime that torch has loaded: the threads of a second one would compete with it.

    Raises:
        NativeUnavailableError: no compiler, or one that fails; the message quotes it.
    """
    path = None
    try:
        path = _cache_folder() / f"kernels-{_fingerprint()}.so"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            lock, work = path.with_suffix(".lock"), "compiling the CPU kernels"
            with locked_work(lock, work=work, watched=path.parent, patience_s=2 * _SECONDS):
                if not path.exists():
                    _build(path)
        loaded = ctypes.CDLL(str(path))
    except NativeUnavailableError:
        raise
    except (OSError, RuntimeError) as error:
        raise NativeUnavailableError(
            f"the CPU kernels cannot be built or loaded: {error}; set SRLAB_NATIVE_CACHE to a folder "
            f"that can be written, or delete {path} if it is damaged"
        ) from error
    for name, signature in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes = [_TYPES[kind] for kind in signature]
        function.restype = ctypes.c_int64
    return loaded


@lru_cache(maxsize=1)
def why_unavailable() -> str | None:
    """None if the kernels work here, else the reason; builds them if that has not been done yet."""
    try:
        library()
    except NativeUnavailableError as error:
        return str(error)
    return None


def require_inference(training: bool, tensors: Iterable[Tensor | None]) -> None:
    """The kernels have no gradients, and use the running statistics of batch norms.

    Raises:
        ValueError: in training mode, or where gradients of the tensors are recorded.
    """
    if records_gradients(training, tensors):
        state = "the network is in training mode" if training else "gradients are recorded"
        raise ValueError(
            f"backend fused is for inference on a CPU, but {state}; call eval() and use "
            "torch.inference_mode(), or train with backend auto, sdpa or reference"
        )


def records_gradients(training: bool, tensors: Iterable[Tensor | None]) -> bool:
    """Whether a module is in training mode, or gradients of the tensors are recorded."""
    return training or (torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors))


def _cache_folder() -> Path:
    """``SRLAB_NATIVE_CACHE``, or the user's cache folder."""
    if os.environ.get("SRLAB_NATIVE_CACHE"):
        return Path(os.environ["SRLAB_NATIVE_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "srlab" / "native"


@lru_cache(maxsize=1)
def _compiler() -> tuple[str, ...]:
    """``CXX``, with its arguments, or the first compiler on the path."""
    commands = [shlex.split(os.environ["CXX"])] if os.environ.get("CXX") else [["c++"], ["g++"], ["clang++"]]
    for command in commands:
        found = shutil.which(command[0])
        if found is not None:
            return (found, *command[1:])
    names = ", ".join(command[0] for command in commands)
    raise NativeUnavailableError(
        f"no C++ compiler found ({names}); install one, for example g++, or name it in CXX, and use backend "
        "sdpa or auto until then"
    )


def _fingerprint() -> str:
    """Changes with the sources, the compiler and the processor's instructions."""
    digest = hashlib.sha256()
    for name in ("vectors.h", "convolution.h", "windows.h", *_SOURCES):
        digest.update((_HERE / name).read_bytes())
    version = _run(*_compiler(), "--version")
    digest.update(" ".join((*_compiler(), version, *_FLAGS, torch.__version__, _processor())).encode())
    return digest.hexdigest()[:16]


def _processor() -> str:
    """The instructions that ``-march=native`` may use: unlike machines may share a home folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())


def _build(path: Path) -> None:
    log.warning("compiling the CPU kernels with %s into %s, once", _compiler()[0], path.parent)
    unfinished = path.with_suffix(f".{os.getpid()}.so")
    try:
        # not linked with an OpenMP library: its functions are found in the one that torch has loaded
        _run(
            *_compiler(), *_FLAGS, "-shared", "-o", str(unfinished), *(str(_HERE / name) for name in _SOURCES)
        )
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _run(*command: str) -> str:
    """What a command prints."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise NativeUnavailableError(f"{' '.join(command)} took more than {_SECONDS} s") from error
    if result.returncode:
        raise NativeUnavailableError(f"{' '.join(command)} failed: {result.stderr.strip()[-2000:]}")
    return result.stdout
