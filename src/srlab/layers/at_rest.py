"""Results that depend on parameters alone: computed again only when these change."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from srlab.ops.precision import without_autocast

__all__ = ["KeptAtRest", "kept_in_captures"]

_is_kept_in_captures = ContextVar("is_kept_in_captures", default=False)


@contextmanager
def kept_in_captures() -> Iterator[None]:
    """Inside, CUDA graphs read what is kept: for a caller that drops them when parameters change."""
    token = _is_kept_in_captures.set(True)
    try:
        yield
    finally:
        _is_kept_in_captures.reset(token)


class KeptAtRest(nn.Module):
    """Keeps a tensor that is a function of parameters for as long as they hold the same values.

    Nothing is kept while gradients flow to the parameters or a compiler traces, nor across a change between
    training and evaluation. The result is computed without autocast, so that it never depends on who asked
    first. Copies and pickles start empty. Nothing else is seen of writes through ``parameter.data``, and of
    fused optimizers' steps without a forward pass that has gradients between.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kept: tuple[list[tuple[Tensor, int]], Tensor] | None = None
        self.times_forgotten = 0

    def forward(self, compute: Callable[[], Tensor], parameters: Sequence[Tensor]) -> Tensor:
        """``compute()``, or what it gave when ``parameters`` were last seen with these values."""
        trains = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in parameters)
        if trains:
            self.forget()  # fused optimizers change parameters without counting it as a write
        with without_autocast(parameters[0].device):
            if trains or _is_recorded() or any(map(Tensor.is_inference, parameters)):
                return compute()
            kept = self._kept
            if kept is None or not all(map(_is_same, kept[0], parameters)):
                # An inference tensor, made during validation, could not take part in training later.
                with torch.inference_mode(False), torch.no_grad():
                    # Holding the memory keeps it from being used again: its address identifies it.
                    held = [(parameter.detach(), parameter._version) for parameter in parameters]
                    self._kept = kept = (held, compute())
            return kept[1]

    def forget(self) -> None:
        """For a module that trains without asking for the result: its parameters may change unseen."""
        if self._kept is not None:  # compilers cannot trace a needless change
            self._kept = None
            self.times_forgotten += 1

    def train(self, mode: bool = True) -> "KeptAtRest":
        """Weight averaging writes through ``data``, between the call of this and the first image."""
        self.forget()
        return super().train(mode)

    def __getstate__(self) -> dict[str, object]:
        """Empty: it can be computed again."""
        return {**self.__dict__, "_kept": None}


def _is_recorded() -> bool:
    """Whether a compiler or a CUDA graph keeps what runs: it would keep today's values."""
    if torch.compiler.is_compiling():
        return True
    capturing = torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
    return capturing and not _is_kept_in_captures.get()


def _is_same(known: tuple[Tensor, int], parameter: Tensor) -> bool:
    """Whether ``parameter`` is the memory that was known, with nothing written to it since."""
    tensor, version = known
    return (
        tensor.data_ptr() == parameter.data_ptr()
        and parameter._version == version
        and tensor.dtype == parameter.dtype
        and tensor.device == parameter.device
    )
