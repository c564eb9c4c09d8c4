"""Activation checkpointing: blocks drop their activations and recompute them for the backward pass.

Paper:      Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016, arXiv 1604.06174
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute_activations(block: nn.Module) -> None:
    """Let ``block`` keep only its inputs for the backward pass, and recompute the rest there.

    Its function, keys, copies and pickles stay the same. Random numbers are drawn again as they were, and
    running statistics count a batch once. Without gradients nothing changes.
    """
    block.forward = partial(_forward, block)


def keep_activations(block: nn.Module) -> None:
    """Undo :func:`recompute_activations`; a block that it was not called for is left as it is."""
    block.__dict__.pop("forward", None)


def _forward(block: nn.Module, *inputs: Any) -> Any:
    """The block's own forward; a partial of it follows its block into copies, as a closure would not."""
    run = partial(type(block).forward, block)
    if not torch.is_grad_enabled():
        return run(*inputs)
    if torch.compiler.is_compiling():
        # a compiler repeats what gradients need, never the update of a buffer
        return checkpoint(run, *inputs, use_reentrant=False)
    return checkpoint(
        run, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _apart_from_statistics(block))
    )


@contextmanager
def _apart_from_statistics(block: nn.Module) -> Iterator[None]:
    """Batch norms update copies of their running statistics meanwhile."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm) and module.training]
    kept = [dict(norm._buffers) for norm in norms]
    for norm, buffers in zip(norms, kept, strict=True):
        norm._buffers.update({k: None if v is None else v.clone() for k, v in buffers.items()})
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            norm._buffers.update(buffers)
