"""Muon for the matrices of a network, Adam for its other weights."""

from collections.abc import Callable, Iterable
from itertools import groupby
from math import sqrt

import torch
from torch import Tensor
from torch.optim import Adam

# Of the quintic polynomial a x + b x^3 + c x^5 that Newton-Schulz iterates.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5


class Muon(Adam):
    """Orthogonalized momentum for weights that are matrices, Adam for the others.

    A kernel (out, in, kh, kw) is the matrix (out, in kh kw). Matrices are linear maps and kernels; biases,
    norms, depthwise kernels and what has a single row or column are left to Adam.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024 (Nesterov momentum,
    5 Newton-Schulz iterations); Liu et al., "Muon is scalable for LLM training", arXiv 2502.16982, equation 4
    (factor ``rms`` sqrt(max(rows, columns)), with ``rms=0.2``).

    Args:
        params: the weights.
        lr: learning rate of both.
        betas: of Adam.
        momentum: decay of the averaged gradient of matrices, in [0, 1).
        rms: root mean square of the entries of a matrix's update, in learning rates. Adam's is about 0.2, so
            that 0.2 lets learning rates of Adam be kept.
        fused: one kernel for all of Adam's weights.

    Raises:
        ValueError: ``momentum`` or ``rms`` out of range, or what ``torch.optim.Adam`` refuses.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        momentum: float = 0.95,
        rms: float = 0.2,
        fused: bool | None = None,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"optimizer.momentum must lie in [0, 1), got {momentum}")
        if rms <= 0:
            raise ValueError(f"optimizer.rms must be positive, got {rms}")
        super().__init__(params, lr=lr, betas=betas, fused=fused)
        own = {"momentum": momentum, "rms": rms}
        self.defaults |= own
        for group in self.param_groups:
            group |= own
        # Adam's fused kernel would divide by the scale of fp16's loss, the other half of this step would not.
        self._step_supports_amp_scaling = False

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Change the weights once; ``closure`` computes the loss anew and returns it."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        gradients: dict[Tensor, Tensor] = {}
        for group in self.param_groups:
            found = {each: each.grad for each in group["params"] if each.grad is not None and is_matrix(each)}
            self._step_of_matrices(found, group["lr"] * group["rms"], group["momentum"])
            gradients |= found
        for weight in gradients:
            weight.grad = None  # Adam skips what has none
        try:
            super().step()
        finally:
            for weight, gradient in gradients.items():
                weight.grad = gradient
        return loss

    def _step_of_matrices(self, gradients: dict[Tensor, Tensor], rms: float, momentum: float) -> None:
        """All matrices of one shape in one batch."""
        by_shape = sorted(gradients, key=_shape)
        for (rows, columns), group in groupby(by_shape, key=_shape):
            weights = list(group)
            updates = []
            for weight in weights:
                gradient, state = gradients[weight], self.state[weight]
                if not state:  # Adam expects a step in every state that it restores
                    state |= {"step": torch.zeros(()), "momentum_buffer": torch.zeros_like(weight)}
                state["step"] += 1
                average = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
                updates.append(gradient.lerp(average, momentum).reshape(rows, columns))
            size = rms * sqrt(max(rows, columns))
            for weight, update in zip(weights, orthogonalized(torch.stack(updates)), strict=True):
                weight.add_(update.view(weight.shape), alpha=-size)


def is_matrix(weight: Tensor) -> bool:
    """Whether a weight mixes channels: at least two dimensions, not depthwise, no single row or column."""
    is_depthwise = weight.ndim > 2 and weight.shape[1] == 1
    return weight.ndim >= 2 and not is_depthwise and min(_shape(weight)) > 1


def orthogonalized(matrices: Tensor) -> Tensor:
    """(N, rows, columns) with all singular values brought near 1, in about [0.7, 1.2].

    Newton-Schulz in the matrices' own precision; a matrix of zeros stays so.
    """
    a, b, c = _COEFFICIENTS
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if is_tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = a * x + torch.baddbmm(gram, gram, gram, beta=b, alpha=c) @ x
    return x.mT if is_tall else x


def _shape(weight: Tensor) -> tuple[int, int]:
    return weight.shape[0], weight.numel() // weight.shape[0]
