"""CATANet: attention among tokens that are alike, wherever in the image they are, and in overlapping patches.

Paper:      Liu et al., "CATANet: Efficient Content-Aware Token Aggregation for Lightweight Image
            Super-Resolution", CVPR 2025, arXiv 2503.06896
Reference:  github.com/EquationWalker/CATANet at fd2222f3, basicsr/archs/catanet_arch.py
Deviations: tokens of one centre keep their order (a stable sort); any image size; evaluation takes the stored
            centres before any training, too; training on several devices gathers the centres of all; no
            network without upsampling.

Shape legend: B batch, C features, E compared features, H/W low-resolution size, N = H * W tokens, K centres,
M heads; maps are (B, H, W, C).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from srlab.layers.arguments import require_entries, require_integer
from srlab.layers.feed_forward import ConvFeedForward, initialise_linear
from srlab.layers.spatial_steps import steps_of
from srlab.models.network import AttentionNetwork
from srlab.ops.overlapping_patches import OVERLAP, OverlappingPatches, cut_patches, join_patches
from srlab.ops.reach import Reach, Step, Upsampling
from srlab.ops.token_groups import (
    attend,
    attend_in_groups,
    in_place,
    nearest_centres,
    refined_centres,
    striped_centres,
)

# Side of the feed-forward networks' kernels.
_KERNEL_SIDE = 5

# Weight of the past in the stored centres.
_DECAY = 0.999


class QueryKeyValue(nn.Module):
    """Linear maps without bias to E, E and C channels."""

    def __init__(self, *, dim: int, query_dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(dim, query_dim, bias=False)
        self.key = nn.Linear(dim, query_dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(..., C) to (..., E), (..., E) and (..., C)."""
        return self.query(tokens), self.key(tokens), self.value(tokens)


class TokenAggregation(nn.Module):
    """Attention to centres of all tokens and, sorted by their centre, to tokens that are alike (TAB's).

    The centres belong to the network, not to the image: training refines them on each batch and stores their
    moving average, which evaluation uses.

    Args:
        dim: features C.
        query_dim: compared features E.
        num_heads: heads M.
        num_centres: centres K.
        group_size: tokens of a group.
        iterations: steps of refinement in training.
    """

    global_parts: ClassVar[Mapping[str, str]] = {"attend": "aggregation of tokens"}

    def __init__(
        self, *, dim: int, query_dim: int, num_heads: int, num_centres: int, group_size: int, iterations: int
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_centres = num_centres
        self.group_size = group_size
        self.iterations = iterations
        self.norm = nn.LayerNorm(dim)
        self.centre_key = nn.Linear(dim, query_dim, bias=False)
        self.centre_value = nn.Linear(dim, dim, bias=False)
        self.project = QueryKeyValue(dim=dim, query_dim=query_dim)
        self.merge = nn.Linear(dim, dim, bias=False)
        self.mix = nn.Conv2d(dim, dim, 1, bias=False)
        self.register_buffer("centres", torch.randn(num_centres, dim))
        self.register_buffer("is_trained", torch.tensor(False))
        self.centres: Tensor
        self.is_trained: Tensor

    def forward(
        self, features: Tensor, stored: Tensor, is_trained: Tensor, backend: str
    ) -> tuple[Tensor, Tensor]:
        """What is added to the features, (B, H, W, C) to the same shape, and the (K, C) centres of the batch.

        ``stored`` centres start the refinement if the boolean ``is_trained`` is true, those of stripes of
        the image if not.
        """
        tokens = self.norm(features).flatten(1, 2)
        centres = self.refined(tokens, stored, is_trained) if self.training else stored
        mixed = self.attend(tokens, centres, backend).unflatten(1, features.shape[1:3])
        return self.mix(mixed.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), centres.detach()

    def refined(self, tokens: Tensor, stored: Tensor, is_trained: Tensor) -> Tensor:
        """(K, C) centres of the tokens (B, N, C); gradients flow through the last step alone."""
        with torch.no_grad():
            centres = torch.where(is_trained, stored, striped_centres(tokens, self.num_centres))
            for _ in range(self.iterations - 1):
                centres = refined_centres(tokens, centres)
        return refined_centres(tokens, centres)

    def attend(self, tokens: Tensor, centres: Tensor, backend: str) -> Tensor:
        """(B, N, C) to the same shape: groups of tokens and centres are two attentions, which are added."""
        order = nearest_centres(tokens, centres.detach()).argsort(dim=-1, stable=True)
        query, key, value = self.project(tokens)
        sizes = {"group_size": self.group_size, "num_heads": self.num_heads}
        mixed, queries = attend_in_groups(query, key, value, order, **sizes, backend=backend)
        key, value = (
            rearrange(each(centres), "k (m d) -> m k d", m=self.num_heads).expand(len(tokens), -1, -1, -1)
            for each in (self.centre_key, self.centre_value)
        )
        mixed = mixed + attend(queries, key, value, backend)
        mixed = rearrange(mixed, "b m n d -> b n (m d)")[:, : tokens.shape[1]]
        return self.merge(in_place(mixed, order))

    @torch.no_grad()
    def store(self, centres: Tensor) -> None:
        """Average the centres of a training step into those for evaluation; the first ones are copied."""
        average = self.centres * _DECAY + centres.to(self.centres.dtype) * (1 - _DECAY)
        self.centres.copy_(torch.where(self.is_trained, average, centres.to(average.dtype)))
        self.is_trained.fill_(True)


class PatchAttention(nn.Module):
    """Attention in patches that overlap by two pixels, and their means (LRSA)."""

    def __init__(self, *, dim: int, query_dim: int, num_heads: int, patch_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.patch_size = patch_size
        self.norm = nn.LayerNorm(dim)
        self.project = QueryKeyValue(dim=dim, query_dim=query_dim)
        self.merge = nn.Linear(dim, dim, bias=False)

    def spatial_steps(self) -> list[Step]:
        """Of the patches."""
        return [OverlappingPatches(self.patch_size - OVERLAP)]

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, H, W, C) to the same shape; the input is added in each patch."""
        patches = cut_patches(features, self.patch_size)
        tokens = rearrange(patches, "b nh nw h w c -> (b nh nw) (h w) c")
        query, key, value = (
            rearrange(each, "b t (m d) -> b m t d", m=self.num_heads)
            for each in self.project(self.norm(tokens))
        )
        mixed = rearrange(attend(query, key, value, backend), "b m t d -> b t (m d)")
        mixed = (self.merge(mixed) + tokens).view(patches.shape)
        return join_patches(mixed, self.patch_size, *features.shape[1:3])


class CataBlock(nn.Module):
    """Token aggregation and attention in patches, each with a feed-forward network, and a convolution."""

    def __init__(
        self, *, aggregation: TokenAggregation, patches: PatchAttention, dim: int, hidden_dim: int
    ) -> None:
        super().__init__()
        self.aggregation = aggregation
        self.aggregation_norm = nn.LayerNorm(dim)
        self.aggregation_mlp = ConvFeedForward(dim=dim, hidden_dim=hidden_dim, kernel_side=_KERNEL_SIDE)
        self.patches = patches
        self.patches_norm = nn.LayerNorm(dim)
        self.patches_mlp = ConvFeedForward(dim=dim, hidden_dim=hidden_dim, kernel_side=_KERNEL_SIDE)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def spatial_steps(self) -> list[Step]:
        """All but the aggregation, which reaches everywhere."""
        return steps_of(self.aggregation_mlp, self.patches, self.patches_mlp, self.conv)

    def forward(
        self, features: Tensor, stored: Tensor, is_trained: Tensor, backend: str
    ) -> tuple[Tensor, Tensor]:
        """(B, H, W, C) to the same shape, and the centres; see :meth:`TokenAggregation.forward`.

        Nothing is stored here: activation checkpointing calls this twice.
        """
        aggregated, centres = self.aggregation(features, stored, is_trained, backend)
        mixed = features + aggregated
        mixed = mixed + self.aggregation_mlp(self.aggregation_norm(mixed))
        mixed = self.patches(mixed, backend)
        mixed = mixed + self.patches_mlp(self.patches_norm(mixed))
        return features + self.conv(mixed.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), centres


class LeakyShuffleHead(nn.Module):
    """Pixel shuffles by 2 or 3, each followed by a leaky ReLU, and a last convolution."""

    def __init__(self, *, dim: int, scale: int) -> None:
        super().__init__()
        if scale not in (2, 3, 4):
            raise ValueError(f"CATANet upsamples by 2, 3 or 4, got scale={scale}")
        self.factors = [3] if scale == 3 else [2] * (scale // 2)
        self.stages = nn.ModuleList(nn.Conv2d(dim, f**2 * dim, 3, padding=1) for f in self.factors)
        self.last = nn.Conv2d(dim, 3, 3, padding=1)

    def spatial_steps(self) -> list[Step]:
        """Convolutions and shuffles in turn, then a convolution."""
        stages = zip(self.stages, self.factors, strict=True)
        steps = [step for stage, factor in stages for step in (*steps_of(stage), Upsampling(factor))]
        return [*steps, *steps_of(self.last)]

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 3, scale * H, scale * W)."""
        for stage, factor in zip(self.stages, self.factors, strict=True):
            features = F.leaky_relu(F.pixel_shuffle(stage(features), factor), 0.1)
        return self.last(features)


class CATANet(AttentionNetwork):
    """Content-aware token aggregation network.

    Args:
        scale: 2, 3 or 4.
        dim: feature channels C, a multiple of num_heads.
        query_dim: compared channels E, a multiple of num_heads.
        hidden_dim: channels of the feed-forward networks.
        num_heads: attention heads M.
        num_centres: centres K in each block.
        group_sizes: tokens that are grouped, in each block.
        patch_sizes: side of the overlapping patches in each block, at least 3.
        iterations: steps that refine the centres in training.
        backend: see :class:`AttentionNetwork`.
    """

    unexportable: ClassVar[Mapping[str, str]] = {
        "onnx": "tokens are sorted stably, for which PyTorch's exporter has no operator",
        "pt2 of any size": "the numbers of groups and patches depend on the image; give one --size",
    }

    def __init__(
        self,
        *,
        scale: int,
        dim: int,
        query_dim: int,
        hidden_dim: int,
        num_heads: int,
        num_centres: Sequence[int],
        group_sizes: Sequence[int],
        patch_sizes: Sequence[int],
        iterations: int,
        backend: str = "auto",
    ) -> None:
        super().__init__(scale=scale, backend=backend)
        require_integer("hidden_dim", hidden_dim)
        attention = {"dim": dim, "query_dim": query_dim, "num_heads": num_heads}
        _check_heads(**attention)
        require_integer("iterations", iterations)
        self.conv_first = nn.Conv2d(3, dim, 3, padding=1)
        self.body = nn.ModuleList()
        blocks = require_entries(
            "block", num_centres=num_centres, group_sizes=group_sizes, patch_sizes=patch_sizes
        )
        if min(patch_sizes) <= OVERLAP:
            raise ValueError(
                f"patch_sizes={list(patch_sizes)} must be more than {OVERLAP}, the pixels that patches share"
            )
        for centres, group, patch in blocks:
            aggregation = TokenAggregation(
                num_centres=centres, group_size=group, iterations=iterations, **attention
            )
            patches = PatchAttention(patch_size=patch, **attention)
            block = CataBlock(aggregation=aggregation, patches=patches, dim=dim, hidden_dim=hidden_dim)
            self.body.append(block)
        self.head = LeakyShuffleHead(dim=dim, scale=scale)
        self.apply(initialise_linear)

    def spatial_steps(self) -> list[Step]:
        """First convolution, blocks, head."""
        return steps_of(self.conv_first, self.body, self.head)

    def reach(self) -> Reach:
        """Of everything but the aggregation; tiles may be cut anywhere.

        The patches of the published network have a common grid of 18018 pixels. No tile is exact anyway.
        """
        reach = super().reach()
        return replace(reach, alignment=1, halo=reach.pixels)

    def restore(self, lr_image: Tensor) -> Tensor:
        """Blocks at low resolution, pixel shuffles, and the bilinearly upsampled image added."""
        backend = self.backend_for(lr_image)
        shallow = self.conv_first(lr_image.contiguous(memory_format=torch.channels_last))
        features = shallow.permute(0, 2, 3, 1)
        for block in self.body:
            assert isinstance(block, CataBlock)
            aggregation = block.aggregation
            stored = aggregation.centres, aggregation.is_trained
            if self.training:  # the backward pass may need them again, after the next line has changed them
                stored = tuple(each.clone() for each in stored)
            features, centres = block(features, *stored, backend)
            if self.training:
                aggregation.store(centres)
        image = self.head(features.permute(0, 3, 1, 2) + shallow)
        base = F.interpolate(lr_image, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return image + base


def _check_heads(dim: int, query_dim: int, num_heads: int) -> None:
    """The heads share out the channels."""
    require_integer("num_heads", num_heads)
    for name, width in (("dim", dim), ("query_dim", query_dim)):
        if require_integer(name, width) % num_heads:
            raise ValueError(f"{name}={width} must be a multiple of num_heads={num_heads}")
