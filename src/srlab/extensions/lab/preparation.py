"""From a subject to a function that runs it once."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from srlab.counts.probe import backend_of, random_lr_image
from srlab.extensions.lab.subjects import GRAPH, Subject
from srlab.extensions.lab.training_step import prepare_training_step
from srlab.models.network import AttentionNetwork, Network
from srlab.ops.attention import rebuilt_masks

__all__ = ["Prepared", "Workload", "prepare"]

# Each subject has compiled code of its own, and torch.compile would give up after 8.
_COMPILED_SUBJECTS = 4096


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What each subject does.

    Attributes:
        lr_size: height and width of the low-resolution images.
        batch: images of one pass or step.
        device: where.
        graph: wraps a network in CUDA graphs; None where the caller offers none.
        training: an optimizer step, on square images, instead of a forward pass.
    """

    lr_size: tuple[int, int]
    batch: int
    device: torch.device
    graph: Callable[[Network], Callable[[Tensor], Tensor]] | None = None
    training: bool = False


class Prepared(NamedTuple):
    """What runs a subject once, and tells what its back end turned out to be (None: no choice)."""

    run: Callable[[], object]
    backend: Callable[[], str | None]


def prepare(network: Network, subject: Subject, workload: Workload) -> Prepared:
    """A copy of ``network`` as the subject wants it; nothing has run yet.

    Raises:
        ValueError: CUDA graphs without a way to make them.
    """
    network = copy.deepcopy(network).to(workload.device)
    if subject.backend is not None:
        assert isinstance(network, AttentionNetwork)
        network.use_backend(subject.backend)
    make = _training if workload.training else _inference
    return make(network, subject, workload)


def _inference(network: Network, subject: Subject, workload: Workload) -> Prepared:
    dtype = getattr(torch, subject.dtype)
    network = network.to(dtype).eval()
    image = random_lr_image(workload.lr_size, workload.device, dtype, batch=workload.batch)
    called = _called(network, subject.compile, workload)
    masks: Callable[[], AbstractContextManager[Any]] = (
        rebuilt_masks if subject.mask == "rebuilt" else nullcontext
    )

    def run() -> object:
        with torch.inference_mode(), masks(), _room_for_compiled_code():
            return called(image)

    def backend() -> str | None:
        with torch.inference_mode():
            return _backend_as_called(network, subject.compile)

    return Prepared(run, backend)


def _training(network: Network, subject: Subject, workload: Workload) -> Prepared:
    step = prepare_training_step(
        network,
        batch=workload.batch,
        patch=workload.lr_size[0],
        device=workload.device,
        dtype=getattr(torch, subject.dtype),
        compile=subject.compile,
        checkpointing=subject.checkpointing,
        fused_optimizer=workload.device.type == "cuda",
    )

    def run() -> object:
        with _room_for_compiled_code():
            return step()

    return Prepared(run, lambda: _backend_as_called(network, subject.compile))


def _called(network: Network, compile_mode: str, workload: Workload) -> Callable[..., object]:
    if compile_mode == "eager":
        return network
    if compile_mode == GRAPH:
        if workload.graph is None:
            raise ValueError("compile=graph: no way of capturing CUDA graphs was handed in")
        return workload.graph(network)
    # one size is measured at a time: code for that size alone, whatever was compiled before
    return torch.compile(network, mode=compile_mode, dynamic=False)


def _backend_as_called(network: Network, compile_mode: str) -> str | None:
    """``auto`` may choose otherwise where a compiler traces the network, so it is asked from there."""
    if compile_mode in ("eager", GRAPH):
        return backend_of(network)
    with _room_for_compiled_code():
        return torch.compile(backend_of, backend="eager", fullgraph=True)(network)


def _room_for_compiled_code() -> AbstractContextManager[Any]:
    return torch._dynamo.config.patch(
        recompile_limit=_COMPILED_SUBJECTS, accumulated_recompile_limit=_COMPILED_SUBJECTS
    )
