"""One optimizer step as something to measure: the step of a run, without data and logs."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F

from srlab.models.network import Network, require_integer

__all__ = ["prepare_training_step"]

# Precision in which activations are computed; weights, their gradients and the loss stay in float32.
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_COMPILE_MODES = ("eager", "default", "max-autotune-no-cudagraphs", "max-autotune", "reduce-overhead")
_MODES_WITH_GRAPHS = ("max-autotune", "reduce-overhead")
_LEARNING_RATE = 1e-4


def prepare_training_step(
    network: Network,
    *,
    batch: int,
    patch: int,
    device: torch.device,
    dtype: torch.dtype,
    compile: str,
    checkpointing: bool,
    fused_optimizer: bool,
) -> Callable[[], None]:
    """What runs one whole step of Adam on one random batch, always the same.

    Each call drops the gradients of the one before, enlarges the crops in training mode, and takes the
    gradients of the mean absolute error. The first call also makes Adam's moments, and compiles.

    Args:
        network: moved to ``device``, in float32; its weights change with every call.
        batch: number of crops.
        patch: side of the low-resolution crops in pixels.
        device: where it runs; on CUDA a call returns before the device has finished.
        dtype: float32; bfloat16 for autocast; float16 for autocast with scaled gradients.
        compile: ``eager``, or a mode of ``torch.compile``.
        checkpointing: see :meth:`Network.use_activation_checkpointing`.
        fused_optimizer: one kernel for all weights.

    Raises:
        ValueError: for what cannot be run so.
    """
    _check(network, device, dtype, compile)
    size = require_integer("patch", patch)
    network = network.to(device=device, dtype=torch.float32).train()
    network.use_activation_checkpointing(checkpointing)
    generator = torch.Generator().manual_seed(0)
    lr_image, hr_image = (
        torch.rand(require_integer("batch", batch), 3, side, side, generator=generator).to(device)
        for side in (size, size * network.scale)
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE, fused=fused_optimizer)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    restore = network if compile == "eager" else torch.compile(network, mode=compile, dynamic=False)

    def step() -> None:
        with torch.enable_grad():
            optimizer.zero_grad(set_to_none=True)
            with _autocast(device, dtype):
                sr_image = restore(lr_image)
            loss = F.l1_loss(sr_image.float(), hr_image)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()

    return step


def _autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """As Lightning has it: casts of weights are not kept, each use makes its own."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype, cache_enabled=False)


def _check(network: Network, device: torch.device, dtype: torch.dtype, compile: str) -> None:
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError(f"{type(network).__name__} has nothing to train; measure its inference")
    if dtype not in _DTYPES:
        known = ", ".join(str(each).removeprefix("torch.") for each in _DTYPES)
        raise ValueError(f"training is measured in {known}, got {str(dtype).removeprefix('torch.')}")
    if compile not in _COMPILE_MODES:
        raise ValueError(
            f"a training step is compiled as one of {', '.join(_COMPILE_MODES)}, got {compile!r}"
        )
    if compile in _MODES_WITH_GRAPHS and device.type != "cuda":
        raise ValueError(
            f"compile={compile} replays CUDA graphs, and {device} has none; use default or "
            "max-autotune-no-cudagraphs"
        )
