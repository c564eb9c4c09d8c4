"""What a device can do at best, measured: how fast it copies, how fast it multiplies matrices."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from srlab.counts.probe import dtype_name
from srlab.extensions.lab.latency import time_ms

__all__ = ["Ceilings", "best_of", "measure_ceilings"]

_MIB = 2**20
# Many times the caches: 50 MiB on an H200, 32 to some 100 MiB a socket on servers.
_LEAST_COPY_BYTES = {"cpu": 256 * _MIB, "cuda": 1024 * _MIB}
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_TIMES_THE_CACHE = 4
# Matrices grow until one product takes as long: by then the rate has settled.
_LONG_ENOUGH_MS = {"cpu": 100.0, "cuda": 5.0}
_FIRST_SIDE, _LAST_SIDE = 256, 16384
_TRIALS = 5


@dataclass(frozen=True)
class Ceilings:
    """Of one device in one dtype.

    Attributes:
        dtype: of the matrices.
        copy_gb_per_s: 1e9 bytes read and written each second while a large array is copied.
        copied_mib: size of that array.
        matrix_gflop_per_s: 1e9 multiplications and additions each second in one large matrix product.
        matrix_side: side of the square matrices.
    """

    dtype: str
    copy_gb_per_s: float
    copied_mib: float
    matrix_gflop_per_s: float
    matrix_side: int


def measure_ceilings(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """The best of some trials on ``device``, with the threads and the float32 precision that are set."""
    size = max(_LEAST_COPY_BYTES[device.type], _TIMES_THE_CACHE * _last_level_cache_bytes())
    side, gflop_per_s = _matrix_rate(device, dtype)
    return Ceilings(
        dtype=dtype_name(dtype),
        copy_gb_per_s=_copy_rate(device, size),
        copied_mib=size / _MIB,
        matrix_gflop_per_s=gflop_per_s,
        matrix_side=side,
    )


def best_of(first: Ceilings, second: Ceilings) -> Ceilings:
    """The higher rates of two measurements of the same device and dtype."""
    faster = max(first, second, key=lambda each: each.matrix_gflop_per_s)
    return Ceilings(
        dtype=first.dtype,
        copy_gb_per_s=max(first.copy_gb_per_s, second.copy_gb_per_s),
        copied_mib=first.copied_mib,
        matrix_gflop_per_s=faster.matrix_gflop_per_s,
        matrix_side=faster.matrix_side,
    )


def _copy_rate(device: torch.device, size: int) -> float:
    source = torch.zeros(size // 4, dtype=torch.float32, device=device)
    target = torch.ones_like(source)
    milliseconds = min(time_ms(lambda: target.copy_(source), device) for _ in range(_TRIALS))
    return 2 * size / milliseconds / 1e6


def _matrix_rate(device: torch.device, dtype: torch.dtype) -> tuple[int, float]:
    side = _FIRST_SIDE
    while True:
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        if _product_ms(left, right, trials=2) >= _LONG_ENOUGH_MS[device.type] or side == _LAST_SIDE:
            return side, 2 * side**3 / _product_ms(left, right, trials=_TRIALS) / 1e6
        side *= 2


def _product_ms(left: Tensor, right: Tensor, *, trials: int) -> float:
    with torch.inference_mode():
        return min(time_ms(lambda: left @ right, left.device) for _ in range(trials))


def _last_level_cache_bytes() -> int:
    """Of the first core's largest cache; 0 where the system does not tell."""
    sizes = [path.read_text() for path in _CACHES.glob("index*/size")]
    return max((int(kib) * 1024 for size in sizes for kib in re.findall(r"^(\d+)K", size)), default=0)
