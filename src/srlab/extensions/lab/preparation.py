"""From a subject to a function that runs it once: a forward pass, or an optimizer step."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from srlab.counts.probe import backend_of, random_lr_image
from srlab.extensions.lab.subjects import Subject
from srlab.models.network import AttentionNetwork, Network
from srlab.ops.attention import rebuilt_masks

# Every subject compiles code of its own, and torch.compile would give up after 8.
_COMPILED_SUBJECTS = 4096
_LEARNING_RATE = 1e-4
_WITH_CUDA_GRAPHS = ("reduce-overhead", "max-autotune")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What each subject does.

    Attributes:
        lr_size: height and width of the low-resolution images.
        batch: images of one pass or step.
        device: where.
        training: an optimizer step instead of a forward pass.
    """

    lr_size: tuple[int, int]
    batch: int
    device: torch.device
    training: bool = False


class Prepared(NamedTuple):
    """``run`` runs a subject once; ``backend`` is the one that is used (None: no choice)."""

    run: Callable[[], object]
    backend: str | None


def prepare(network: Network, subject: Subject, workload: Workload) -> Prepared:
    """A copy of ``network`` set up for the subject; nothing has run yet.

    Raises:
        ValueError: a training step in float64 or of a network without weights, CUDA graphs without CUDA.
    """
    network = copy.deepcopy(network).to(workload.device)
    if subject.backend is not None:
        assert isinstance(network, AttentionNetwork)
        network.use_backend(subject.backend)
    make = training_step if workload.training else _forward_pass
    context = torch.enable_grad if workload.training else torch.inference_mode
    step = make(network, subject, workload)

    def run() -> object:
        with context(), _room_for_compiled_code():
            return step()

    with context(), _room_for_compiled_code():
        return Prepared(run, _backend_as_called(network, subject.compile))


def _forward_pass(network: Network, subject: Subject, workload: Workload) -> Callable[[], object]:
    dtype = getattr(torch, subject.dtype)
    called = _compiled(network.to(dtype).eval(), subject.compile, workload.device)
    image = random_lr_image(workload.lr_size, workload.device, dtype, batch=workload.batch)
    masks = rebuilt_masks if subject.mask == "rebuilt" else nullcontext

    def step() -> object:
        with masks():
            return called(image)

    return step


def training_step(network: Network, subject: Subject, workload: Workload) -> Callable[[], object]:
    """A whole step of Adam on one random batch, always the same; weights stay in float32.

    Each call drops the gradients of the call before and computes those of the mean absolute error. The first
    call also makes Adam's moments, and compiles. Gradients must be recorded.
    """
    device, dtype = workload.device, getattr(torch, subject.dtype)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError(f"{type(network).__name__} has nothing to train; measure its inference")
    if dtype == torch.float64:
        raise ValueError("training is measured in float32, bfloat16 or float16 (autocast), not float64")
    network = network.float().train()
    network.use_activation_checkpointing(subject.checkpointing)
    generator = torch.Generator().manual_seed(0)
    lr_image, hr_image = (
        torch.rand(workload.batch, 3, *(factor * side for side in workload.lr_size), generator=generator).to(
            device
        )
        for factor in (1, network.scale)
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE, fused=device.type == "cuda")
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    called = _compiled(network, subject.compile, device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        # like Lightning: casts of weights are not cached, every use casts again
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32, cache_enabled=False):
            sr_image = called(lr_image)
        scaler.scale(F.l1_loss(sr_image.float(), hr_image)).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def _compiled(network: Network, mode: str, device: torch.device) -> Callable[..., Any]:
    if mode in _WITH_CUDA_GRAPHS and device.type != "cuda":
        raise ValueError(
            f"compile mode {mode} replays CUDA graphs, which {device} does not have; use default or "
            "max-autotune-no-cudagraphs"
        )
    # not dynamic: one size is measured at a time, with code for that size alone
    return network if mode == "eager" else torch.compile(network, mode=mode, dynamic=False)


def _backend_as_called(network: Network, mode: str) -> str | None:
    """``auto`` may choose another back end under a compiler, so it is asked from inside one."""
    ask = backend_of if mode == "eager" else torch.compile(backend_of, backend="eager", fullgraph=True)
    return ask(network)


def _room_for_compiled_code() -> AbstractContextManager[Any]:
    return torch._dynamo.config.patch(
        recompile_limit=_COMPILED_SUBJECTS, accumulated_recompile_limit=_COMPILED_SUBJECTS
    )
