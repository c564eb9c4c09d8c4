"""Common parts of measured and scored forward passes: device, mode, input, errors."""

import copy
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn


@contextmanager
def ready_network(network: nn.Module, device: torch.device, dtype: torch.dtype) -> Iterator[nn.Module]:
    """The network in evaluation mode on ``device`` in ``dtype``, without autograd; restored after.

    A network on another device or in another dtype is copied, since converting back would lose bits.
    """
    if any(_differs(tensor, device, dtype) for tensor in (*network.parameters(), *network.buffers())):
        network = copy.deepcopy(network).to(device=device, dtype=dtype)
    with evaluation_mode(network):
        yield network


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without autograd; every module's own mode is restored after."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def random_lr_image(
    lr_size: tuple[int, int], device: torch.device, dtype: torch.dtype, *, batch: int = 1
) -> Tensor:
    """(batch, 3, *lr_size) in [0, 1], always the same, leaving the global generator alone."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, 3, *lr_size, generator=generator).to(device=device, dtype=dtype)


def find_device(name: str) -> torch.device:
    """The device called ``name``, CPU or CUDA; ``auto`` is CUDA where there is one.

    Raises:
        ValueError: no such device on this machine, or another kind.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device={name}: choose cpu, cuda, cuda:1 or auto; others are not supported")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        offered = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        raise ValueError(
            f"device={name}: this machine offers torch {', '.join(offered) or 'no CUDA device'}; "
            "use one of those, device=cpu or device=auto"
        )
    return device


def synchronize(device: torch.device) -> None:
    """Wait for the work queued on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """The product's name: ``NVIDIA H200``, ``AMD EPYC 7763 64-Core Processor``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def dtype_name(dtype: torch.dtype) -> str:
    """``float32``, not ``torch.float32``."""
    return str(dtype).removeprefix("torch.")


def backend_of(network: nn.Module) -> str | None:
    """The attention implementation that the network uses; None where it has no choice."""
    backend = getattr(network, "backend", None)
    return backend if isinstance(backend, str) else None


def _differs(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> bool:
    index = device.index if device.index is not None else tensor.device.index
    elsewhere = (tensor.device.type, tensor.device.index) != (device.type, index)
    return elsewhere or (tensor.is_floating_point() and tensor.dtype != dtype)


@contextmanager
def explain_out_of_memory(lr_size: tuple[int, int], device: torch.device) -> Iterator[None]:
    """Turn torch's out-of-memory errors into a MemoryError that names the image and remedies."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        height, width = lr_size
        raise MemoryError(
            f"restoring a {height}x{width} image does not fit into the memory of {device}: use smaller "
            "images, backend=sdpa (in training model.backend=sdpa), which stores no maps, a smaller "
            "network, or a device with more memory"
        ) from error


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch reports that a device ran out of memory."""
    message = str(error)
    on_cpu = "DefaultCPUAllocator" in message or "can't allocate memory" in message
    return on_cpu or isinstance(error, torch.OutOfMemoryError)
