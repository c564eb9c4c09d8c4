"""ELSA: local self-attention by Hadamard products, with a ghost head for weights of each channel.

Paper:      Zhou et al., "ELSA: Enhanced Local Self-Attention for Vision Transformer", arXiv 2112.12786
Reference:  github.com/damo-cv/ELSA at f3b7ac7a
Deviations: ``lam`` must be an integer: the official code takes fractional powers of negative numbers, which
            gives NaN. Stride is always 1.

Shape legend: B batch, C features, M heads, K side of the neighbourhood, T = K * K taps, H/W size of the map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srlab.layers.arguments import require_counts, require_integer
from srlab.layers.spatial_steps import steps_of
from srlab.ops.local_aggregation import fused_local_aggregation, local_aggregation
from srlab.ops.reach import Step


class HadamardWeights(nn.Module):
    """Weights of all neighbours from the product of query and key at a pixel and around it."""

    def __init__(
        self, *, dim: int, num_heads: int, kernel_side: int, group_width: int, dilation: int
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.gather = nn.Conv2d(
            dim,
            dim,
            kernel_side,
            padding=dilation * (kernel_side // 2),
            dilation=dilation,
            groups=dim // group_width,
        )
        self.spread = nn.Conv2d(dim, num_heads * kernel_side**2, 1)

    def forward(self, product: Tensor) -> Tensor:
        """(B, dim, H, W), the products of queries and keys, to (B, M, T, H, W), which sums to 1 over T."""
        logits = self.spread(F.gelu(self.gather(product)))
        return torch.softmax(logits.unflatten(1, (self.num_heads, -1)), dim=2)


class GhostHead(nn.Module):
    """Filters of single channels from those of a head: ``mul ** lam * weights + gamma * add``.

    Args:
        dim: channels C.
        kernel_side: side K of the filters.
        lam: power of the factor, a non-negative integer; 0: there is no factor.
        gamma: strength of the addend; 0: there is no addend.

    Raises:
        ValueError: ``lam`` is not a non-negative integer. Factors have either sign, so other powers are not
            real numbers, or grow without bound near zero.
    """

    def __init__(self, *, dim: int, kernel_side: int, lam: int, gamma: float) -> None:
        super().__init__()
        if isinstance(lam, bool) or not isinstance(lam, int) or lam < 0:
            raise ValueError(
                f"lam must be an integer of at least 0, got {lam!r}: the ghost factors are negative too, and "
                "have no other powers; use 0 (no factor) or 1"
            )
        self.lam = lam
        self.gamma = gamma
        shape = (dim, kernel_side, kernel_side)
        self.mul = nn.Parameter(torch.randn(shape)) if lam else None
        self.add = nn.Parameter(nn.init.trunc_normal_(torch.empty(shape), std=0.02)) if gamma else None

    def forward(self) -> tuple[Tensor | None, Tensor | None]:
        """Factor and offset for :mod:`srlab.ops.local_aggregation`, (C, K, K) each, or None."""
        factor = None if self.mul is None else self.mul**self.lam
        return factor, None if self.add is None else self.gamma * self.add


class HadamardAttention(nn.Module):
    """Enhanced local self-attention.

    Args:
        dim: features C.
        num_heads: heads, a divisor of dim.
        kernel_side: side of the neighbourhood, odd.
        group_width: channels in a group of the convolution that gathers products; queries and keys have two
            thirds of dim, rounded up to a multiple of this.
        dilation: pixels from one neighbour to the next.
        qkv_bias: whether the projection to query, key and value has a bias.
        qk_scale: factor of the products; 1 in the official block, (C / M) ** -0.5 in the bare module.
        lam: see :class:`GhostHead`.
        gamma: see :class:`GhostHead`.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        kernel_side: int,
        group_width: int,
        dilation: int = 1,
        qkv_bias: bool,
        qk_scale: float,
        lam: int,
        gamma: float,
    ) -> None:
        super().__init__()
        _check_sizes(dim, num_heads, kernel_side, group_width, dilation)
        self.dilation = dilation
        self.qk_scale = qk_scale
        self.dim_qk = -(-(dim // 3 * 2) // group_width) * group_width
        self.project = nn.Conv2d(dim, 2 * self.dim_qk + dim, 1, bias=qkv_bias)
        self.weights = HadamardWeights(
            dim=self.dim_qk,
            num_heads=num_heads,
            kernel_side=kernel_side,
            group_width=group_width,
            dilation=dilation,
        )
        self.ghost_head = GhostHead(dim=dim, kernel_side=kernel_side, lam=lam, gamma=gamma)
        self.mix = nn.Linear(dim, dim)

    def spatial_steps(self) -> list[Step]:
        """Products are gathered around a pixel, and values around it weighted by them."""
        return steps_of(self.weights.gather)

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, H, W, C) to the same shape; backend is ``reference`` or ``fused``."""
        projected = self.project(features.permute(0, 3, 1, 2))
        query, key, value = projected.split((self.dim_qk, self.dim_qk, features.shape[-1]), dim=1)
        weights = self.weights(query * key * self.qk_scale)
        factor, offset = self.ghost_head()
        aggregate = local_aggregation if backend == "reference" else fused_local_aggregation
        mixed = aggregate(value, weights, factor=factor, offset=offset, dilation=self.dilation)
        return self.mix(mixed.permute(0, 2, 3, 1))


def _check_sizes(dim: int, num_heads: int, kernel_side: int, group_width: int, dilation: int) -> None:
    """Heads divide the features, filters have a middle, and queries at least one channel."""
    require_integer("dim", dim, minimum=3)
    require_counts(num_heads=num_heads, group_width=group_width, dilation=dilation)
    if dim % num_heads:
        raise ValueError(f"dim={dim} must be a multiple of num_heads={num_heads}")
    if require_integer("kernel_side", kernel_side) % 2 == 0:
        raise ValueError(f"kernel_side must be odd, so that a filter has a middle; got {kernel_side}")
