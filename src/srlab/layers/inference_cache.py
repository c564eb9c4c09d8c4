"""Cache of a tensor that depends on parameters alone: computed again only when they change."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from srlab.ops.precision import without_autocast


class InferenceCache(nn.Module):
    """Caches a function of parameters for as long as they hold the same values.

    Nothing is cached while gradients flow to the parameters or a compiler traces, nor across a change between
    training and evaluation. The result is computed without autocast, so that it does not depend on the first
    caller. Copies and pickles start empty. Other writes through ``parameter.data``, and steps of fused
    optimizers without a forward pass with gradients in between, are not noticed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._cached: tuple[str, list[tuple[Tensor, int]], Tensor] | None = None

    def forward(self, compute: Callable[[], Tensor], parameters: Sequence[Tensor], form: str = "") -> Tensor:
        """``compute()``, or its cached result if ``parameters`` have not changed since.

        Args:
            compute: a function of the parameters.
            parameters: all that it reads.
            form: names the function where several share a cache, which holds the latest.
        """
        trains = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in parameters)
        if trains:
            self.clear()  # fused optimizers change parameters without counting it as a write
        with without_autocast(parameters[0].device):
            if trains or _is_recorded() or any(map(Tensor.is_inference, parameters)):
                return compute()
            cached = self._cached
            if cached is None or cached[0] != form or not all(map(_is_same, cached[1], parameters)):
                # An inference tensor, made during validation, could not take part in training later.
                with torch.inference_mode(False), torch.no_grad():
                    # Holding the memory keeps it from being used again: its address identifies it.
                    held = [(parameter.detach(), parameter._version) for parameter in parameters]
                    self._cached = cached = (form, held, compute())
            return cached[2]

    def clear(self) -> None:
        """For a module that trains without asking for the result: its parameters may change unseen."""
        if self._cached is not None:  # compilers cannot trace a needless change
            self._cached = None

    def train(self, mode: bool = True) -> "InferenceCache":
        """Weight averaging writes through ``data``, between the call of this and the first image."""
        self.clear()
        return super().train(mode)

    def __getstate__(self) -> dict[str, object]:
        """Empty: it can be computed again."""
        return {**self.__dict__, "_cached": None}


def _is_recorded() -> bool:
    """Whether a compiler or a CUDA graph records what runs: it would record today's values."""
    if torch.compiler.is_compiling():
        return True
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def _is_same(known: tuple[Tensor, int], parameter: Tensor) -> bool:
    """Whether ``parameter`` has the same memory as before, with nothing written to it since."""
    tensor, version = known
    return (
        tensor.data_ptr() == parameter.data_ptr()
        and parameter._version == version
        and tensor.dtype == parameter.dtype
        and tensor.device == parameter.device
    )
