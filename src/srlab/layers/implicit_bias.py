"""Window attention whose position bias is a product of two functions of position, of low rank.

Paper:      Lee et al., "Rank-Factorized Implicit Neural Bias: Scaling Super-Resolution Transformer with
            FlashAttention", arXiv 2603.06738
Reference:  github.com/dslisleedh/SST at bcd61328, sst/archs/arch_utils.py
Deviations: computes in the dtype of the features, not in bfloat16; maps may be smaller than their padding;
            coordinates of windows are computed where they are used, in float32 at least.

Shape legend: B batch, C channels, H/W size of the map, S window side, T = S * S tokens, M heads, d = C / M,
R rank, N windows of a batch; maps are (B, C, H, W).
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from srlab.layers.arguments import require_counts, require_integer
from srlab.layers.inference_cache import InferenceCache
from srlab.ops.attention import attention_maps, fused_attention
from srlab.ops.padding import pad_to_multiple
from srlab.ops.reach import Alternatives, Neighbours, Reflection, Step, Windows
from srlab.ops.windows import merge_windows, roll_map, split_windows

# Without gradients, windows are taken in parts of so many logits (reference) or tokens (sdpa) of each head.
_LOGITS_AT_A_TIME = 2**24
_TOKENS_AT_A_TIME = 2**16


def window_waves(side: int, frequencies: int, *, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(T, 2 + 4 * frequencies): what a window's tokens know of their place, row by row.

    Column and row of the token's centre, from -1 to 1, then their sines and cosines at 1, 2, 4, ...
    """
    ticks = (2 * torch.arange(side, device=device, dtype=dtype) + 1) / side - 1
    rows, columns = torch.meshgrid(ticks, ticks, indexing="ij")
    place = torch.stack([columns, rows], dim=-1).flatten(0, 1)
    waves = [wave(place * 2**octave) for octave in range(frequencies) for wave in (torch.sin, torch.cos)]
    return torch.cat([place, *waves], dim=-1)


class ImplicitBias(nn.Module):
    """Rank-factorized implicit neural bias (RIB): tokens' places as R further channels of query and key.

    Args:
        num_heads: heads M.
        side: side S of the windows; no parameter depends on it.
        rank: channels R.
        hidden_dim: channels of the perceptron's hidden layer.
        frequencies: octaves of the waves that it sees.
    """

    def __init__(self, *, num_heads: int, side: int, rank: int, hidden_dim: int, frequencies: int) -> None:
        super().__init__()
        self.side = side
        self.frequencies = frequencies
        self.scale = rank**-0.5
        self.embed = nn.Parameter(torch.empty(2 + 4 * frequencies, hidden_dim))
        self.embed_offset = nn.Parameter(torch.zeros(1, hidden_dim))
        self.to_query = nn.Parameter(torch.empty(num_heads, hidden_dim, rank))
        self.to_key = nn.Parameter(torch.empty(num_heads, hidden_dim, rank))
        for weight in (self.embed, self.to_query, self.to_key):
            nn.init.normal_(weight, std=0.05)
        self.cache = InferenceCache()

    def forward(self) -> Tensor:
        """(2, M, T, R): channels of the queries, scaled by 1 / sqrt(R), and of the keys; float32 at least.

        Their products are the bias, (M, T, T). In evaluation the result is cached.
        """
        return self.cache(self._factors, [self.embed, self.embed_offset, self.to_query, self.to_key])

    def _factors(self) -> Tensor:
        dtype = torch.promote_types(self.embed.dtype, torch.float32)
        waves = window_waves(self.side, self.frequencies, device=self.embed.device, dtype=dtype)
        hidden = F.relu(waves @ self.embed.to(dtype) + self.embed_offset.to(dtype))
        query, key = (hidden @ weights.to(dtype) for weights in (self.to_query, self.to_key))
        return torch.stack([query * self.scale, key])


class GatedWindowAttention(nn.Module):
    """Multi-head self-attention in windows with an implicit bias, times a gate that a convolution opens.

    Args:
        dim: channels C, a multiple of num_heads.
        num_heads: heads M.
        window_size: side S.
        rank: channels R of each head that hold the position.
        bias_dim: hidden channels of the bias.
        frequencies: octaves of the bias.
        shifted: roll the map by half a window before it is cut; what this joins at the border is not masked.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        window_size: int,
        rank: int,
        bias_dim: int,
        frequencies: int,
        shifted: bool = False,
    ) -> None:
        super().__init__()
        require_counts(window_size=window_size, rank=rank, bias_dim=bias_dim)
        require_integer("frequencies", frequencies, minimum=0)
        if dim % num_heads:
            raise ValueError(f"dim={dim} must be a multiple of num_heads={num_heads}")
        self.num_heads = num_heads
        self.window_size = window_size
        self.shift = window_size // 2 if shifted else 0
        self.logit_scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Conv2d(dim, 3 * dim, 1)
        self.position = ImplicitBias(
            num_heads=num_heads, side=window_size, rank=rank, hidden_dim=bias_dim, frequencies=frequencies
        )
        self.gate = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim), nn.Conv2d(dim, dim, 1), nn.Sigmoid()
        )
        self.out = nn.Conv2d(dim, dim, 1)

    def spatial_steps(self) -> list[Step]:
        """Padding, then windows beside the gate."""
        windows = Windows(self.window_size, shift=self.shift, wraps=self.shift > 0)
        return [Reflection(self.window_size), Alternatives((windows, Neighbours(1)))]

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, C, H, W) of any size to the same shape; padded to whole windows by reflection inside."""
        height, width = features.shape[-2:]
        qkv = self.qkv(pad_to_multiple(features, self.window_size)).permute(0, 2, 3, 1)
        windows = split_windows(roll_map(qkv, -self.shift), self.window_size)
        mixed = self._in_parts(windows.flatten(0, 1), backend).view(*windows.shape[:3], -1)
        mixed = roll_map(merge_windows(mixed, self.window_size, qkv.shape[1]), self.shift)
        return self.out(mixed.permute(0, 3, 1, 2)[..., :height, :width] * self.gate(features))

    def _in_parts(self, qkv: Tensor, backend: str) -> Tensor:
        """(N, T, 3C) to (N, T, C); without gradients a few windows at a time, to hold less at once."""
        position, tokens = self.position().to(qkv.dtype), qkv.shape[1]
        is_recorded = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
        if torch.is_grad_enabled() or is_recorded or qkv.is_meta:
            return self._attend(qkv, position, backend)
        at_a_time = _LOGITS_AT_A_TIME // tokens**2 if backend == "reference" else _TOKENS_AT_A_TIME // tokens
        return torch.cat([self._attend(part, position, backend) for part in qkv.split(max(1, at_a_time))])

    def _attend(self, qkv: Tensor, position: Tensor, backend: str) -> Tensor:
        """(N, T, 3C) to (N, T, C)."""
        query, key, value = rearrange(qkv, "n t (three m d) -> three n m t d", three=3, m=self.num_heads)
        channels, rank = value.shape[-1], position.shape[-1]
        where = position[:, None].expand(-1, qkv.shape[0], -1, -1, -1)
        query = torch.cat([query * self.logit_scale, where[0]], dim=-1)
        key = torch.cat([key, where[1]], dim=-1)
        if backend == "reference":
            mixed = attention_maps(query, key) @ value
        else:  # values need as many channels as queries: others take the path that stores the maps
            mixed = fused_attention(query, key, F.pad(value, (0, rank)))[..., :channels]
        return rearrange(mixed, "n m t d -> n t (m d)")
