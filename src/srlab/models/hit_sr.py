"""HiT-SR: hierarchical windows and spatial-channel correlation, as HiT-SIR, HiT-SNG and HiT-SRF.

Paper:      Zhang et al., "HiT-SR: Hierarchical Transformer for Efficient Image Super-Resolution", ECCV 2024,
            arXiv 2407.05878
Reference:  github.com/XiangZ-0/HiT-SR at 8f59218a
Deviations: the position bias is averaged before it is expanded, and kept in evaluation; backend "linear"
            re-associates the products; windows can shift; any image size; the correlation stays in float32
            under autocast to float16, see HierarchicalBlock.

Shape legend: B batch, C features, H/W low-resolution size padded in each block, S window side, T = S * S
tokens, K side of the grid that they merge to, f = S / K, M heads, d = C / 2M; maps are (B, H, W, C), windows
(B * H/S, W/S, T, C).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from srlab.layers.arguments import require_integer, require_integers
from srlab.layers.feed_forward import ConvFeedForward, FeedForward
from srlab.layers.inference_cache import InferenceCache
from srlab.layers.position_bias import RelativePositionBias
from srlab.layers.spatial_steps import steps_of
from srlab.models.residual_groups import ResidualGroupNetwork, check_groups
from srlab.ops.attention import attention_maps
from srlab.ops.padding import pad_to_multiple
from srlab.ops.precision import without_float16_autocast
from srlab.ops.reach import Reflection, Step, Windows
from srlab.ops.shift import resolve_shift_schedule
from srlab.ops.windows import merge_windows, roll_map, split_windows

# The paper's base window: tokens merge to a grid of this side; windows above it are its multiples.
MERGED_SIZE = 8


class DualFeatures(nn.Module):
    """Dual feature extraction (DFE): a convolutional bottleneck times a 1x1 convolution."""

    def __init__(self, *, dim: int) -> None:
        super().__init__()
        self.bottleneck = nn.Sequential(
            nn.Conv2d(dim, dim // 5, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(dim // 5, dim // 5, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(dim // 5, dim, 1),
        )
        self.gate = nn.Conv2d(dim, dim, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, H, W, C) to the same shape."""
        features = features.permute(0, 3, 1, 2)
        return (self.bottleneck(features) * self.gate(features)).permute(0, 2, 3, 1)


class MergedPositionBias(nn.Module):
    """Position bias from a small network of the distance, averaged over the tokens that merge to one key."""

    def __init__(self, *, dim: int, num_heads: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.factor = side // min(side, MERGED_SIZE)
        hidden = dim // 16
        self.embed = nn.Linear(2, hidden)
        self.stage1, self.stage2, self.stage3 = (
            nn.Sequential(nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, width))
            for width in (hidden, hidden, num_heads)
        )
        self._averages = InferenceCache()

    def forward(self) -> Tensor:
        """(M, T, K * K) for query minus key; in evaluation the small network does not run again."""
        table = self._averages(self._average_table, list(self.parameters()))
        # Windows of the table, one for each key: the first belongs to the last key.
        reversed_keys = table.unfold(1, self.side, self.factor).unfold(2, self.side, self.factor)
        return rearrange(reversed_keys.flip(1, 2), "m ky kx y x -> m (y x) (ky kx)")

    def _average_table(self) -> Tensor:
        """(M, 2S - f, 2S - f): mean bias of f x f neighbouring distances, smallest first, f = S / K."""
        weight = self.embed.weight
        ticks = torch.arange(1 - self.side, self.side, device=weight.device)
        distances = torch.cartesian_prod(ticks, ticks).to(weight.dtype)
        bias = self.stage3(self.stage2(self.stage1(self.embed(distances))))
        table = rearrange(bias, "(y x) m -> m y x", y=len(ticks))
        return F.avg_pool2d(table, self.factor, stride=1)


class WindowContext(nn.Module):
    """What SNG adds to a window: two means of attention among 2x2 windows, each of them one token."""

    def __init__(self, *, dim: int, num_heads: int, side: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.logit_scale = (dim // 2 // num_heads) ** -0.5
        self.embed = nn.Conv2d(2, 1, side, stride=side)
        self.position_bias = RelativePositionBias(num_heads=num_heads, side=2, std=0.02)
        self.attention_qkv = nn.Linear(dim // 2, 3 * (dim // 2))
        self.attention_proj = nn.Linear(dim // 2, dim // 2)
        self.merge = nn.Conv2d(dim, dim, 1)

    def forward(self, windows: Tensor, rows: int) -> Tensor:
        """(B * rows, W/S, T, C) to (B * rows, W/S, 1, C); at least two rows and columns of windows."""
        weight, bias = self.embed.weight[0].flatten(1), self.embed.bias
        assert bias is not None
        tokens = torch.einsum("hwtcj,jt->hwc", windows.unflatten(-1, (-1, 2)), weight) + bias
        grid = rearrange(tokens, "(b h) w c -> b c h w", h=rows)
        both = torch.cat([self._attend(grid, (0, 1, 0, 1)), self._attend(grid, (1, 0, 1, 0))], dim=1)
        return rearrange(self.merge(both), "b c h w -> (b h) w 1 c")

    def _attend(self, grid: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
        """(B, C/2, h, w) to the same shape: each with those right of and below it, or left and above."""
        padded = F.pad(grid, padding, mode="reflect")
        tokens = rearrange(padded.unfold(2, 2, 1).unfold(3, 2, 1), "b c h w y x -> b h w (y x) c")
        heads = rearrange(self.attention_qkv(tokens), "... t (n m d) -> n ... m t d", n=3, m=self.num_heads)
        maps = attention_maps(heads[0], heads[1], scale=self.logit_scale, bias=self.position_bias())
        mixed = self.attention_proj(rearrange(maps @ heads[2], "... m t d -> ... t (m d)"))
        return mixed.mean(dim=-2).permute(0, 3, 1, 2)


class SpatialChannelCorrelation(nn.Module):
    """Spatial-channel correlation (SCC): half of the channels compare tokens, half channels; no softmax."""

    def __init__(self, *, dim: int, num_heads: int, window_size: int, shifted: bool, context: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.factor = window_size // min(window_size, MERGED_SIZE)
        self.shift = window_size // 2 if shifted else 0
        self.features = DualFeatures(dim=dim)
        self.context = WindowContext(dim=dim, num_heads=num_heads, side=window_size) if context else None
        self.merge = nn.Linear(self.factor**2, 1)
        self.position_bias = MergedPositionBias(dim=dim, num_heads=num_heads, side=window_size)
        self.proj = nn.Linear(dim, dim)

    def spatial_steps(self) -> list[Step]:
        """Features, then windows; a context adds the windows around; the shift is not masked."""
        beyond = 0 if self.context is None else 1
        windows = Windows(self.window_size, shift=self.shift, wraps=self.shift > 0, beyond=beyond)
        return [*steps_of(self.features.bottleneck), windows]

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, H, W, C) to the same shape; H and W must be multiples of S, with a context at least 2S."""
        height = features.shape[1]
        windows = split_windows(roll_map(self.features(features), -self.shift), self.window_size)
        if self.context is not None:
            windows = windows + self.context(windows, height // self.window_size)
        query, value = windows.chunk(2, dim=-1)
        correlate = self._spatial_reference if backend == "reference" else self._spatial_linear
        by_channel = value @ (value.transpose(-2, -1) @ query / query.shape[-2])
        mixed = torch.cat([correlate(query, self._merged(value)), by_channel], dim=-1)
        return self.proj(roll_map(merge_windows(mixed, self.window_size, height), self.shift))

    def _merged(self, value: Tensor) -> Tensor:
        """(..., T, C/2) to (..., K * K, C/2): one learned sum of the tokens in each cell of the grid."""
        grid, side = self.window_size // self.factor, self.factor
        cells = rearrange(value, "h w (ky y kx x) c -> h w (ky kx) c (y x)", ky=grid, kx=grid, y=side)
        return self.merge(cells).squeeze(-1)

    def _spatial_reference(self, query: Tensor, merged: Tensor) -> Tensor:
        """Explicit maps (q v'^T / d + bias) v', as in the paper."""
        by_head = "h w t (m d) -> h w m t d"
        query, merged = (rearrange(tokens, by_head, m=self.num_heads) for tokens in (query, merged))
        maps = query @ merged.transpose(-2, -1) / query.shape[-1]
        maps = maps + self.position_bias().to(maps.dtype)
        return rearrange(maps @ merged, "h w m t d -> h w t (m d)")

    def _spatial_linear(self, query: Tensor, merged: Tensor) -> Tensor:
        """The same as q (v'^T v' / d) + bias v': the bias is the only map, and all windows share it."""
        heads = merged.unflatten(-1, (self.num_heads, -1))
        channel = torch.arange(merged.shape[-1], device=merged.device) // heads.shape[-1]
        gram = merged.transpose(-2, -1) @ merged * (channel[:, None] == channel) / heads.shape[-1]
        placed = torch.einsum("mts,hwsmd->hwtmd", self.position_bias().to(merged.dtype), heads)
        return query @ gram + placed.flatten(-2)


#: What follows the correlation of a block.
FEED_FORWARDS = {"linear": FeedForward, "convolution": partial(ConvFeedForward, kernel_side=5)}


class HierarchicalBlock(nn.Module):
    """Correlation in windows, then a feed-forward network; each is normalised and added to its input.

    The map is padded to whole windows, with a context to an even number of them, by reflection, repeated as
    often as a small map needs. The official SIR reflects once, SRF and SNG at most twice; they fail beyond.

    The correlation, of degree six in the features, reaches 1e14 in the published HiT-SRF before the norm
    brings it back: both stay in float32 under autocast to float16.
    """

    def __init__(self, *, dim: int, correlation: SpatialChannelCorrelation, mlp: FeedForward) -> None:
        super().__init__()
        self.size_multiple = correlation.window_size * (1 if correlation.context is None else 2)
        self.correlation = correlation
        self.norm1 = nn.LayerNorm(dim)
        self.mlp = mlp
        self.norm2 = nn.LayerNorm(dim)

    def spatial_steps(self) -> list[Step]:
        """Padding, correlation, feed-forward network."""
        return [Reflection(self.size_multiple), *steps_of(self.correlation, self.mlp)]

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, H, W, C) of any size to the same shape."""
        height, width = features.shape[1:3]
        padded = pad_to_multiple(features.permute(0, 3, 1, 2), self.size_multiple).permute(0, 2, 3, 1)
        with without_float16_autocast(features.device):
            correlated = self.correlation(padded.to(self.norm1.weight.dtype), backend)
            features = features + self.norm1(correlated[:, :height, :width])
        return features + self.norm2(self.mlp(features))


class HiTSR(ResidualGroupNetwork):
    """Hierarchical transformer.

    Args:
        dim: feature channels C, at least 16 and a multiple of twice each number of heads.
        depths: blocks in each group.
        num_heads: heads of the spatial correlation in each group.
        window_sizes: side of the windows at each position in a group: up to 8, or multiples of 8.
        mlp_ratio: hidden channels of the feed-forward networks in units of dim.
        feed_forward: one of :data:`FEED_FORWARDS`; ``convolution`` makes HiT-SRF.
        window_context: add to each window what it sees of its neighbours: HiT-SNG.
        shift_schedule: which blocks shift their windows, see :func:`srlab.ops.shift.resolve_shift_schedule`.
            The published network never does.
        frame: further arguments of :class:`ResidualGroupNetwork`; backends are ``reference`` and ``linear``.
    """

    plain_backends = ("reference", "linear")
    default_backend = "linear"
    exported_backend = "linear"
    beyond_float16 = "the correlation reaches 1e14 in published weights"
    float32_modules = r"correlation|norm1"
    unexportable: ClassVar[Mapping[str, str]] = {
        "pt2 of any size": "its blocks pad their maps by amounts that depend on the image; give one --size"
    }

    def __init__(
        self,
        *,
        dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_sizes: Sequence[int],
        mlp_ratio: float,
        feed_forward: str,
        window_context: bool,
        shift_schedule: str | Sequence[bool | int],
        **frame: Any,
    ) -> None:
        _check_sizes(dim, depths, num_heads, window_sizes)
        if feed_forward not in FEED_FORWARDS:
            raise ValueError(f"unknown feed_forward {feed_forward!r}; choose {' or '.join(FEED_FORWARDS)}")
        make_mlp = partial(FEED_FORWARDS[feed_forward], dim=dim, hidden_dim=int(dim * mlp_ratio))
        make_correlation = partial(SpatialChannelCorrelation, dim=dim, context=window_context)
        shifts = iter(resolve_shift_schedule(shift_schedule, depths))

        def make_block(group: int, position: int) -> HierarchicalBlock:
            correlation = make_correlation(
                num_heads=num_heads[group], window_size=window_sizes[position], shifted=next(shifts)
            )
            return HierarchicalBlock(dim=dim, correlation=correlation, mlp=make_mlp())

        super().__init__(make_block, dim=dim, depths=depths, **frame)

    def measured_halo(self) -> int | None:
        """192: with trained HiT-SRF weights, what is left is float32's rounding (docs/tiling.md)."""
        blocks = [block for block in self.groups.modules() if isinstance(block, HierarchicalBlock)]
        windows = [block.correlation.window_size for block in blocks]
        is_measured = (len(self.groups), windows) == (4, 4 * [4, 8, 16, 32, 48, 64]) and all(
            block.correlation.context is None
            and block.correlation.shift == 0
            and isinstance(block.mlp, ConvFeedForward)
            for block in blocks
        )
        return 192 if is_measured else None


def _check_sizes(dim: int, depths: Sequence[int], num_heads: Sequence[int], windows: Sequence[int]) -> None:
    """Depth and heads for each group, a window for each position; the channels can be shared out."""
    check_groups(dim, depths, num_heads)
    require_integer("dim", dim, minimum=16)  # the network of the position bias has dim // 16 channels
    for heads in num_heads:
        if dim % (2 * heads):
            raise ValueError(f"dim={dim} must be a multiple of twice num_heads={heads}")
    if isinstance(windows, (str, int)) or len(windows) != max(depths):
        raise ValueError(
            f"window_sizes={windows!r} must list one side for each of {max(depths)} positions in a group"
        )
    for side in require_integers("window_sizes", windows):
        if side > MERGED_SIZE and side % MERGED_SIZE:
            raise ValueError(f"window side {side} must be at most {MERGED_SIZE} or a multiple of it")
