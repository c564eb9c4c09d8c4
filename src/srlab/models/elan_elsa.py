"""ELAN with ELSA: ELAN whose group attention is replaced by Hadamard attention with a ghost head.

Paper:      none; ELSA has not been published for super-resolution. The question: what does shared multi-scale
            attention lose or gain when its windows become neighbourhoods around each pixel?
            Frame: Zhang et al., arXiv 2203.06697. Attention: Zhou et al., arXiv 2112.12786.
Reference:  none for the whole; the frame is held against github.com/xindongzhang/ELAN at 97ab3fa0, the
            weights of neighbours and the ghost head against github.com/damo-cv/ELSA at f3b7ac7a.
Deviations: from ELAN, only the attention: local features, sharing, batch norms, head and tail are its own.
            From ELSA, queries serve as keys, each group of channels has one head and a kernel of its own
            side, and what a module reuses are the soft-max weights of another. Nothing is padded: filters
            see zeros outside.

There are no windows, so nothing is shifted: in every block a pixel sees the K x K pixels around it, wherever
it is, and rolling the map would change its borders only. Kernels of 3, 5 and 7 replace ELAN's windows
of 4, 8 and 16: the largest has 49 taps where a window has 256 tokens. At x4 (1280 x 720) the preset has
742,644 parameters and 44.2 G multiply-adds, ELAN-light 601,488 (trainable) and 53.5 G.

As queries serve as keys, the products are squares: they have the strength of a pixel's response, not its
sign. The convolution that gathers them has weights of either sign.

What is shared are the soft-max weights; computing them costs five times as much as applying them. A ghost
head adds static filters to single channels, and the channels of a following module are other features: every
module has ghost heads of its own, one for each group. The preset has lam = 0 and gamma = 1, as ELSA-Swin.

Shape legend: B batch, C features, H/W low-resolution size, G number of groups, d = C / G channels of a group,
K side of its neighbourhood, T = K * K taps; maps are (B, C, H, W).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from srlab.layers.arguments import require_integer, require_integers
from srlab.layers.elsa import GhostHead, HadamardWeights
from srlab.layers.folding import Foldable, absorb_batch_norm
from srlab.models.shared_attention import SharedAttentionBlock, SharedAttentionNetwork, channels_per_group
from srlab.ops.local_aggregation import fused_local_aggregation, local_aggregation
from srlab.ops.reach import Neighbours, Step


class GroupHadamardAttention(nn.Module, Foldable):
    """Group-wise multi-scale Hadamard attention: a kernel side for each group, queries serve as keys.

    Args:
        computes_weights: whether this module computes the weights of neighbours or reuses another's.
        dim: feature channels C, a multiple of the number of kernel sides.
        kernel_sides: side of the neighbourhood of each group of channels, odd.
        group_width: channels in a group of the convolutions that gather products, a divisor of d.
        lam: see :class:`srlab.layers.elsa.GhostHead`.
        gamma: see :class:`srlab.layers.elsa.GhostHead`.
    """

    def __init__(
        self,
        computes_weights: bool,
        *,
        dim: int,
        kernel_sides: Sequence[int],
        group_width: int,
        lam: int,
        gamma: float,
    ) -> None:
        super().__init__()
        self.radius = max(kernel_sides) // 2
        width, dim_out = dim // len(kernel_sides), 2 * dim if computes_weights else dim
        self.project = nn.Conv2d(dim, dim_out, 1)
        self.norm: nn.Module = nn.BatchNorm2d(dim_out)
        self.weights = nn.ModuleList(
            HadamardWeights(dim=width, num_heads=1, kernel_side=side, group_width=group_width, dilation=1)
            for side in (kernel_sides if computes_weights else ())
        )
        self.ghost_heads = nn.ModuleList(
            GhostHead(dim=width, kernel_side=side, lam=lam, gamma=gamma) for side in kernel_sides
        )
        self.mix = nn.Conv2d(dim, dim, 1)

    def spatial_steps(self) -> list[Step]:
        """Products are gathered around a pixel, and values around it weighted by them."""
        return [Neighbours(self.radius)]

    def forward(
        self, features: Tensor, shared: list[Tensor] | None, *, backend: str
    ) -> tuple[Tensor, list[Tensor]]:
        """Attend to the neighbourhood of each pixel.

        Args:
            features: (B, C, H, W) of any size.
            shared: (B, 1, T, H, W) for each group from the module that computed; None in that module itself.
            backend: ``reference`` or ``fused``.

        Returns:
            (B, C, H, W), and what following modules share.
        """
        if bool(self.weights) == (shared is not None):
            raise ValueError("the first module of a block computes its weights, the others need the shared")
        values = self.norm(self.project(features)).chunk(len(self.ghost_heads), dim=1)
        if shared is None:
            queries, values = zip(*(group.chunk(2, dim=1) for group in values), strict=True)
            shared = [weights(query * query) for weights, query in zip(self.weights, queries, strict=True)]
        aggregate = local_aggregation if backend == "reference" else fused_local_aggregation
        mixed = []
        for value, weights, ghost_head in zip(values, shared, self.ghost_heads, strict=True):
            factor, offset = ghost_head()
            mixed.append(aggregate(value, weights, factor=factor, offset=offset))
        return self.mix(torch.cat(mixed, dim=1)), shared

    def fold(self) -> None:
        """The batch norm becomes part of the convolution before it."""
        self.norm = absorb_batch_norm(self.project, self.norm)


class ElanElsa(SharedAttentionNetwork):
    """ELAN whose blocks attend to neighbourhoods of each pixel.

    Args:
        dim: feature channels C, a multiple of the number of kernel sides.
        depth: attention modules in all, a multiple of 1 + n_share.
        n_share: how many following modules reuse the soft-max weights that one module computes.
        kernel_sides: side of the neighbourhood of each group of channels in low-resolution pixels, odd; any
            number of groups.
        group_width: channels in a group of the convolutions that gather products, a divisor of C / G.
        lam: power of the ghost heads' factor, see :class:`srlab.layers.elsa.GhostHead`; 0: no factor.
        gamma: strength of the ghost heads' addend; 0: no addend.
        expansion: channels inside the local feature extraction, in units of dim.
        frame: further arguments of :class:`SharedAttentionNetwork`. Backend ``reference`` stores the
            neighbours and filters of all pixels, ``fused`` neither.
    """

    plain_backends = ("reference", "fused")
    default_backend = "fused"

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        n_share: int,
        kernel_sides: Sequence[int],
        group_width: int,
        lam: int,
        gamma: float,
        expansion: int,
        **frame: Any,
    ) -> None:
        kernel_sides = require_integers("kernel_sides", kernel_sides)
        _check_kernels(require_integer("dim", dim), kernel_sides, group_width)
        attention = partial(
            GroupHadamardAttention,
            dim=dim,
            kernel_sides=kernel_sides,
            group_width=group_width,
            lam=lam,
            gamma=gamma,
        )
        sizes = {"dim": dim, "n_share": n_share}

        def make_block(_index: int) -> SharedAttentionBlock:
            return SharedAttentionBlock(**sizes, expansion=expansion, make_attention=attention)

        super().__init__(make_block, **sizes, depth=depth, **frame)


def _check_kernels(dim: int, kernel_sides: Sequence[int], group_width: int) -> None:
    """Kernels have a middle, and the channels can be divided among them and once more."""
    if any(side % 2 == 0 for side in kernel_sides):
        raise ValueError(
            f"every entry of kernel_sides must be odd, so that a filter has a middle; got {kernel_sides}"
        )
    width = channels_per_group(dim, kernel_sides, "kernels")
    if width % require_integer("group_width", group_width):
        divisors = [str(divisor) for divisor in range(1, width + 1) if width % divisor == 0]
        raise ValueError(
            f"group_width={group_width} does not divide the {width} channels of each of {len(kernel_sides)} "
            f"kernels; use {', '.join(divisors)}"
        )
