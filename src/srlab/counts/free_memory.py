"""Free memory of a device, and the memory that a network needs for each pixel."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import nn

from srlab.counts.live_memory import count_live_bytes
from srlab.counts.probe import backend_of, random_lr_image, synchronize

_MEMORY = Path("/proc/meminfo")
_GROUPS = Path("/proc/self/cgroup")
_GROUP_ROOT = Path("/sys/fs/cgroup")

_measured: WeakKeyDictionary[nn.Module, dict[tuple[object, ...], float]] = WeakKeyDictionary()


def free_bytes(device: torch.device) -> int | None:
    """Bytes that can still be allocated on ``device``; None where the system does not say.

    On CUDA, what the driver has and what PyTorch's allocator holds unused. On the CPU, what Linux calls
    available, within the limits of the process's control groups (versions 1 and 2), whose file caches count
    as free.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type != "cpu":
        return None
    limits = list(_group_limits())
    with suppress(OSError, KeyError):
        limits.append(_fields(_MEMORY)["MemAvailable:"] * 1024)
    return min(limits, default=None)


def bytes_per_pixel(network: nn.Module, device: torch.device, dtype: torch.dtype, *, side: int) -> float:
    """By how much the peak of live tensors grows with each LR pixel of an image, between two small images.

    Args:
        network: on ``device``, in evaluation mode, called without autograd.
        device: CPU or CUDA.
        dtype: of its weights.
        side: of the smaller image, LR pixels; the other one has twice the area.

    Libraries' own scratch memory is not counted on the CPU. A measurement is kept for as long as the network
    lives, for this device, dtype, side, back end and autocast.
    """
    autocast = torch.is_autocast_enabled(device.type)
    conditions = (device, dtype, side, backend_of(network), autocast)
    known = _measured.setdefault(network, {})
    if conditions not in known:
        sizes = (side, side), (side, 2 * side)
        network(random_lr_image(sizes[0], device, dtype))  # what is made once and kept is not counted
        small, large = (_peak(network, size, device, dtype) for size in sizes)
        known[conditions] = (large - small) / side**2
    return known[conditions]


def _peak(network: nn.Module, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> int:
    lr_image = random_lr_image(size, device, dtype)
    if device.type != "cuda":
        return count_live_bytes(lambda: network(lr_image))[0]
    synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    network(lr_image)
    synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _group_limits() -> Iterator[int]:
    """What is left in each control group that the process is in, and in those around it."""
    with suppress(OSError):
        for line in _GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                names, root = ("memory.max", "memory.current", "inactive_file"), _GROUP_ROOT
            elif "memory" in controllers.split(","):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                root = _GROUP_ROOT / "memory"
            else:
                continue
            place = root / path.lstrip("/")
            for folder in (place, *place.parents):
                if folder.is_relative_to(root):
                    yield from _group_limit(folder, *names)


def _group_limit(folder: Path, limit: str, usage: str, cache: str) -> Iterator[int]:
    with suppress(OSError, ValueError, KeyError):  # no limit is called "max", or has no file
        used = int((folder / usage).read_text()) - _fields(folder / "memory.stat")[cache]
        yield int((folder / limit).read_text()) - used


def _fields(path: Path) -> dict[str, int]:
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1}
