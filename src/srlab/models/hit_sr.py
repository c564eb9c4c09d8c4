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

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from srlab.layers.color import RGB_MEAN
from srlab.layers.feed_forward import FeedForward
from srlab.layers.inference_cache import InferenceCache
from srlab.layers.position_bias import RelativePositionBias
from srlab.layers.upsample import recognise_head
from srlab.models.network import rename_keys, require_integer
from srlab.models.residual_groups import (
    FRAME_TO_OFFICIAL,
    FRAME_TO_OURS,
    ResidualGroupNetwork,
    check_groups,
    count_groups,
    initialise_linear,
)
from srlab.ops.attention import attention_maps, relative_position_index
from srlab.ops.padding import pad_to_multiple
from srlab.ops.precision import without_float16_autocast
from srlab.ops.shift import resolve_shift_schedule
from srlab.ops.windows import merge_windows, roll_map, split_windows

__all__ = ["FEED_FORWARDS", "ConvFeedForward", "HiTSR", "HierarchicalBlock", "SpatialChannelCorrelation"]

# The paper's base window: tokens merge to a grid of this side; windows above it are its multiples.
_MERGED_SIDE = 8

_BLOCK = "layers.{}.residual_group.blocks.{}"
_CONTEXT = ".correlation.ngram_window_partition.ngram_context"

# Parts of keys inside a block, official and ours.
_NAMES = (
    (".mlp.fc1.", ".mlp.expand."),
    (".mlp.fc2.", ".mlp.contract."),
    (".mlp.dwconv.depthwise_conv.0.", ".mlp.local."),
    (".correlation.qv.conv.", ".correlation.features.bottleneck."),
    (".correlation.qv.linear.", ".correlation.features.gate."),
    (".correlation.spatial_linear.", ".correlation.merge."),
    (".correlation.pos.pos_proj.", ".correlation.position_bias.embed."),
    (".correlation.pos.pos", ".correlation.position_bias.stage"),
    (f"{_CONTEXT}.unigram_embed.", ".correlation.context.embed."),
    (f"{_CONTEXT}.ngram_attn.relative_position_bias_", ".correlation.context.position_bias."),
    (f"{_CONTEXT}.ngram_attn.", ".correlation.context.attention_"),
    (f"{_CONTEXT}.merge.", ".correlation.context.merge."),
)
_TO_OURS = (*FRAME_TO_OURS, *((re.escape(official), ours) for official, ours in _NAMES))
_TO_OFFICIAL = (*FRAME_TO_OFFICIAL, *((re.escape(ours), official) for official, ours in _NAMES))


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
        self.factor = side // min(side, _MERGED_SIDE)
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

    def __init__(self, *, dim: int, num_heads: int, window_side: int, shifted: bool, context: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_side = window_side
        self.factor = window_side // min(window_side, _MERGED_SIDE)
        self.shift = window_side // 2 if shifted else 0
        self.features = DualFeatures(dim=dim)
        self.context = WindowContext(dim=dim, num_heads=num_heads, side=window_side) if context else None
        self.merge = nn.Linear(self.factor**2, 1)
        self.position_bias = MergedPositionBias(dim=dim, num_heads=num_heads, side=window_side)
        self.proj = nn.Linear(dim, dim)

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, H, W, C) to the same shape; H and W must be multiples of S, with a context at least 2S."""
        height = features.shape[1]
        windows = split_windows(roll_map(self.features(features), -self.shift), self.window_side)
        if self.context is not None:
            windows = windows + self.context(windows, height // self.window_side)
        query, value = windows.chunk(2, dim=-1)
        correlate = self._spatial_reference if backend == "reference" else self._spatial_linear
        by_channel = value @ (value.transpose(-2, -1) @ query / query.shape[-2])
        mixed = torch.cat([correlate(query, self._merged(value)), by_channel], dim=-1)
        return self.proj(roll_map(merge_windows(mixed, self.window_side, height), self.shift))

    def _merged(self, value: Tensor) -> Tensor:
        """(..., T, C/2) to (..., K * K, C/2): one learned sum of the tokens in each cell of the grid."""
        grid, side = self.window_side // self.factor, self.factor
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


class ConvFeedForward(FeedForward):
    """The same with a 5x5 depth-wise convolution and GELU between, added to their input (SRF)."""

    def __init__(self, *, dim: int, hidden_dim: int) -> None:
        super().__init__(dim=dim, hidden_dim=hidden_dim)
        self.local = nn.Conv2d(hidden_dim, hidden_dim, 5, padding=2, groups=hidden_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, H, W, C) to the same shape."""
        hidden = F.gelu(self.expand(tokens))
        local = F.gelu(self.local(hidden.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        return self.contract(hidden + local)


#: What follows the correlation of a block.
FEED_FORWARDS = {"linear": FeedForward, "convolution": ConvFeedForward}


class HierarchicalBlock(nn.Module):
    """Correlation in windows, then a feed-forward network; each is normalised and added to its input.

    The map is padded to whole windows, with a context to an even number of them, by reflection, repeated as
    often as a small map needs. The official SIR reflects once, SRF and SNG at most twice; they fail beyond.

    The correlation, of degree six in the features, reaches 1e14 in the published HiT-SRF before the norm
    brings it back: both stay in float32 under autocast to float16.
    """

    def __init__(self, *, dim: int, correlation: SpatialChannelCorrelation, mlp: FeedForward) -> None:
        super().__init__()
        self.size_multiple = correlation.window_side * (1 if correlation.context is None else 2)
        self.correlation = correlation
        self.norm1 = nn.LayerNorm(dim)
        self.mlp = mlp
        self.norm2 = nn.LayerNorm(dim)

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
        scale: 2, 3, 4 or any integer that the head can make.
        dim: feature channels C, at least 16 and a multiple of twice each number of heads.
        depths: blocks in each group.
        num_heads: heads of the spatial correlation in each group.
        window_sizes: side of the windows at each position in a group: up to 8, or multiples of 8.
        mlp_ratio: hidden channels of the feed-forward networks in units of dim.
        feed_forward: one of :data:`FEED_FORWARDS`; ``convolution`` makes HiT-SRF.
        window_context: add to each window what it sees of its neighbours: HiT-SNG.
        head: one of :data:`srlab.layers.upsample.HEADS`.
        connection: ``1conv`` or ``3conv``, the convolutions after each group and after the body.
        mean, value_range: the network sees (image - mean) * value_range; mean is a colour in [0, 1].
        shift_schedule: which blocks shift their windows, see :func:`srlab.ops.shift.resolve_shift_schedule`.
            The published network never does.
        backend: ``reference``, ``linear`` or ``auto``, see :class:`AttentionNetwork`.
    """

    plain_backends = ("reference", "linear")
    default_backend = "linear"
    beyond_float16 = "the correlation reaches 1e14 in published weights"
    official_landmarks = (
        "layers.0.residual_group.blocks.0.correlation.qv.linear.weight",
        "conv_first.weight",
        "layers.0.residual_group.blocks.0.mlp.fc1.weight",
    )

    def __init__(
        self,
        *,
        scale: int,
        dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_sizes: Sequence[int],
        mlp_ratio: float,
        feed_forward: str,
        window_context: bool,
        head: str,
        connection: str,
        value_range: float,
        shift_schedule: str | Sequence[bool | int],
        backend: str = "auto",
        mean: Sequence[float] = RGB_MEAN,
    ) -> None:
        _check_sizes(dim, depths, num_heads, window_sizes)
        if feed_forward not in FEED_FORWARDS:
            raise ValueError(f"unknown feed_forward {feed_forward!r}; choose {' or '.join(FEED_FORWARDS)}")
        shifts = iter(resolve_shift_schedule(shift_schedule, depths))

        def make_block(group: int, position: int) -> HierarchicalBlock:
            heads, side = num_heads[group], window_sizes[position]
            correlation = SpatialChannelCorrelation(
                dim=dim, num_heads=heads, window_side=side, shifted=next(shifts), context=window_context
            )
            mlp = FEED_FORWARDS[feed_forward](dim=dim, hidden_dim=int(dim * mlp_ratio))
            return HierarchicalBlock(dim=dim, correlation=correlation, mlp=mlp)

        super().__init__(
            scale=scale,
            dim=dim,
            depths=depths,
            make_block=make_block,
            size_multiple=1,  # every block pads for itself
            head=head,
            connection=connection,
            value_range=value_range,
            backend=backend,
            mean=mean,
        )
        self.apply(initialise_linear)

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read all but the colour range; windows of 8 and less look alike without a context."""
        if any(key not in state for key in cls.official_landmarks):
            return None
        if "upsample.0.weight" not in state and "conv_up1.weight" not in state:
            raise KeyError("upsample.0.weight")
        depths, (head, scale) = count_groups(state), recognise_head(state)
        blocks = [_BLOCK.format(group, 0) for group in range(len(depths))]
        dim, hidden = state["conv_first.weight"].shape[0], state[f"{blocks[0]}.mlp.fc1.weight"].shape[0]
        convolves = any(".mlp.dwconv." in key for key in state)
        return {
            "scale": scale,
            "dim": dim,
            "depths": depths,
            "num_heads": [state[f"{block}.correlation.pos.pos3.2.weight"].shape[0] for block in blocks],
            "window_sizes": _read_windows(state, depths),
            "mlp_ratio": hidden / dim if hidden % dim == 0 else (hidden + 0.5) / dim,
            "feed_forward": "convolution" if convolves else "linear",
            "window_context": any(_CONTEXT in key for key in state),
            "head": head,
            "connection": "3conv" if "conv_after_body.0.weight" in state else "1conv",
            "value_range": 1.0,
            "shift_schedule": "none",
            "backend": "auto",
            "mean": list(RGB_MEAN),
        }

    @classmethod
    def untold(cls, state: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Windows of 8 and less have the same shapes, unless they have a context."""
        small = [key.endswith("spatial_linear.weight") and state[key].shape[1] == 1 for key in state]
        told = any(_CONTEXT in key for key in state) or not any(small)
        return (*(() if told else ("window_sizes",)), "mean", "value_range", "shift_schedule")

    @classmethod
    def from_official(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename keys; derivable buffers are left out."""
        kept = {key: value for key, value in state.items() if not key.endswith("relative_position_index")}
        return rename_keys(kept, _TO_OURS)

    def to_official(self) -> dict[str, Tensor]:
        """Rename keys and write the buffers of the contexts."""
        state = rename_keys(self.state_dict(), _TO_OFFICIAL)
        for key in [key for key in state if key.endswith("relative_position_bias_table")]:
            state[key.replace("_bias_table", "_index")] = relative_position_index(2, self.mean.device)
        return state


def _read_windows(state: Mapping[str, Tensor], depths: Sequence[int]) -> list[int]:
    """Side of the windows at each position, as the deepest group has them; what is not told, as published."""
    windows = []
    for position in range(max(depths)):
        block = _BLOCK.format(list(depths).index(max(depths)), position)
        merged = state[f"{block}.correlation.spatial_linear.weight"].shape[1]
        likely = 4 if merged == 1 and position == 0 else _MERGED_SIDE * math.isqrt(merged)
        embed = state.get(f"{block}{_CONTEXT}.unigram_embed.weight")
        windows.append(likely if embed is None else embed.shape[-1])
    return windows


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
    for side in windows:
        if require_integer("every entry of window_sizes", side) > _MERGED_SIDE and side % _MERGED_SIDE:
            raise ValueError(f"window side {side} must be at most {_MERGED_SIDE} or a multiple of it")
