"""ATD: windows, groups of tokens of one category wherever they are, and a dictionary refined for each image.

Paper:      Zhang et al., "Transcending the Limit of Local Window: Advanced Super-Resolution Transformer with
            Adaptive Token Dictionary", CVPR 2024, arXiv 2401.08209
Reference:  github.com/LabShuHangGU/Adaptive-Token-Dictionary at d25fd845, basicsr/archs/atd_arch.py
Deviations: tokens of one category keep their order (a stable sort); any image size; masks and indices are
            derived, not stored; those of the frame.

Shape legend: B batch, C features, E compared features, H/W padded low-resolution size, N = H * W tokens,
K entries of the dictionary, S window side, M heads; maps are (B, H, W, C).
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srlab.layers.arguments import require_counts, require_integer
from srlab.layers.feed_forward import ConvFeedForward
from srlab.layers.folding import Foldable, fold_layer_norm
from srlab.layers.spatial_steps import steps_of
from srlab.layers.window_attention import MultiHeadWindows
from srlab.models.residual_groups import ResidualGroup, ResidualGroupNetwork, check_groups
from srlab.ops.padding import mirror_to_multiple
from srlab.ops.reach import Step, Windows
from srlab.ops.shift import resolve_shift_schedule
from srlab.ops.token_groups import attend_in_own_groups
from srlab.ops.windows import merge_windows, roll_map, split_windows

# The logits of categories are multiplied by this at first, and by 100 at most.
_FIRST_FACTOR = 10.0
_LARGEST_FACTOR = 100.0


class DictionaryAttention(nn.Module):
    """Each token attends to the entries of the dictionary, by the cosine of queries and keys (ATD-CA).

    Args:
        dim: features C.
        query_dim: compared features E.
        dictionary_size: entries K.
    """

    def __init__(self, *, dim: int, query_dim: int, dictionary_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(dim, query_dim)
        self.key = nn.Linear(dim, query_dim)
        self.value = nn.Linear(dim, dim)
        self.sharpness = nn.Parameter(torch.full((dictionary_size,), 0.5))

    def forward(self, tokens: Tensor, dictionary: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, C) and (B, K, C) to (B, N, C) and the shares of the entries, (B, N, K)."""
        query, key = (F.normalize(each, dim=-1) for each in (self.query(tokens), self.key(dictionary)))
        factor = 1 + self.sharpness.clamp(0, 1) * math.log(len(self.sharpness))
        shares = torch.softmax(query @ key.transpose(-2, -1) * factor, dim=-1)
        return shares @ self.value(dictionary), shares


class CategoryAttention(nn.Module):
    """Tokens are sorted by the entry with their largest share, and attend in groups of one size (AC-MSA).

    Args:
        dim: features C, a multiple of num_heads.
        num_heads: heads M.
        category_size: tokens of a group.
    """

    global_parts: ClassVar[Mapping[str, str]] = {"forward": "categories of tokens"}

    def __init__(self, *, dim: int, num_heads: int, category_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.category_size = category_size
        self.log_factor = nn.Parameter(torch.full((1, 1), math.log(_FIRST_FACTOR)))
        self.proj = nn.Linear(dim, dim)

    def forward(self, qkv: Tensor, shares: Tensor, backend: str) -> Tensor:
        """(B, N, 3C) and (B, N, K) to (B, N, C)."""
        order = shares.argmax(-1).argsort(dim=-1, stable=True)
        mixed = attend_in_own_groups(
            qkv,
            order,
            group_size=self.category_size,
            num_heads=self.num_heads,
            scale=self.log_factor.clamp(max=math.log(_LARGEST_FACTOR)).exp(),
            backend=backend,
        )
        return self.proj(mixed)


class ShiftedWindows(MultiHeadWindows):
    """Attention in windows that may be shifted, of given queries, keys and values."""

    def __init__(self, *, dim: int, num_heads: int, window_size: int, shifted: bool) -> None:
        super().__init__(dim=dim, num_heads=num_heads, window_size=window_size, std=0.02)
        self.shift = window_size // 2 if shifted else 0
        self.proj = nn.Linear(dim, dim)

    def spatial_steps(self) -> list[Step]:
        """Masks keep apart what the cyclic shift joins."""
        return [Windows(self.window_size, shift=self.shift)]

    def forward(self, qkv: Tensor, backend: str) -> Tensor:
        """(B, H, W, 3C) to (B, H, W, C)."""
        height, shift = qkv.shape[1], self.shift
        windows = split_windows(roll_map(qkv, -shift), self.window_size)
        mixed = self.in_windows(windows, height=height, shift=shift, backend=backend)
        return self.proj(roll_map(merge_windows(mixed, self.window_size, height), shift))


class DictionaryRefinement(nn.Module):
    """Moves each entry of the dictionary towards a mean of the tokens that attended to it.

    Args:
        dictionary_size: entries K.
    """

    global_parts: ClassVar[Mapping[str, str]] = {"forward": "refinement of the dictionary"}

    def __init__(self, *, dictionary_size: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm1d(dictionary_size, affine=True)
        self.gate = nn.Parameter(torch.zeros(dictionary_size, 1))

    def forward(self, dictionary: Tensor, shares: Tensor, tokens: Tensor) -> Tensor:
        """(B, K, C), (B, N, K) and (B, N, C) to (B, K, C)."""
        weights = torch.softmax(self.norm(shares.transpose(-2, -1)), dim=-1)
        gate = torch.sigmoid(self.gate)
        return gate * dictionary + (1 - gate) * (weights @ tokens)


class DictionaryBlock(nn.Module, Foldable):
    """Norms first: three attentions side by side, then a feed-forward network; each is added to its input."""

    def __init__(
        self,
        *,
        windows: ShiftedWindows,
        categories: CategoryAttention,
        entries: DictionaryAttention,
        refinement: DictionaryRefinement | None,
        mlp: ConvFeedForward,
        dim: int,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.windows = windows
        self.categories = categories
        self.entries = entries
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = mlp
        self.refinement = refinement

    def spatial_steps(self) -> list[Step]:
        """All but the categories and the dictionary, which reach everywhere."""
        return steps_of(self.windows, self.mlp)

    def forward(self, features: Tensor, dictionary: Tensor, backend: str) -> tuple[Tensor, Tensor]:
        """(B, H, W, C) and (B, K, C) to the same shapes."""
        size, normed = features.shape[1:3], self.norm1(features)
        qkv = self.qkv(normed)
        looked_up, shares = self.entries(normed.flatten(1, 2), dictionary)
        alike = self.categories(qkv.flatten(1, 2), shares, backend)
        mixed = features + self.windows(qkv, backend) + (looked_up + alike).unflatten(1, size)
        mixed = mixed + self.mlp(self.norm2(mixed))
        if self.refinement is not None:
            dictionary = self.refinement(dictionary, shares, mixed.flatten(1, 2))
        return mixed, dictionary

    def fold(self) -> None:
        """The norms' factors and offsets become part of the linear maps behind them."""
        fold_layer_norm(self.norm1, self.qkv, self.entries.query)
        fold_layer_norm(self.norm2, self.mlp.expand)


class ATD(ResidualGroupNetwork):
    """Transformer with an adaptive token dictionary.

    Each group starts from a dictionary of its own, and every block but its last refines it for the image.

    Args:
        dim: feature channels C, a multiple of each of num_heads.
        depths: blocks in each group.
        num_heads: attention heads in each group.
        window_size: side S of the windows in low-resolution pixels.
        category_size: tokens that are grouped by category.
        dictionary_size: entries K.
        query_dim: channels E compared with the dictionary's.
        kernel_side: of the feed-forward networks' depth-wise convolutions, odd.
        mlp_ratio: hidden channels of the feed-forward networks in units of dim.
        shift_schedule: which blocks shift their windows, see :func:`srlab.ops.shift.resolve_shift_schedule`.
        frame: further arguments of :class:`ResidualGroupNetwork`.
    """

    pads_image = False  # not as others would pad it outside
    pad_image = staticmethod(mirror_to_multiple)  # the edge is repeated, unlike in SwinIR
    unexportable: ClassVar[Mapping[str, str]] = {
        "onnx": "tokens are sorted stably, for which PyTorch's exporter has no operator",
        "pt2 of any size": "the number of groups depends on the image; give one --size",
    }

    def __init__(
        self,
        *,
        dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_size: int,
        category_size: int,
        dictionary_size: int,
        query_dim: int,
        kernel_side: int,
        mlp_ratio: float,
        shift_schedule: str | Sequence[bool | int],
        **frame: Any,
    ) -> None:
        check_groups(dim, depths, num_heads)
        require_counts(dictionary_size=dictionary_size, category_size=category_size)
        require_counts(query_dim=query_dim, window_size=window_size)
        if require_integer("kernel_side", kernel_side) % 2 == 0:
            raise ValueError(f"kernel_side={kernel_side} must be odd")
        shifts = iter(resolve_shift_schedule(shift_schedule, depths))
        windows = partial(ShiftedWindows, dim=dim, window_size=window_size)

        def make_block(group: int, position: int) -> DictionaryBlock:
            heads, is_last = num_heads[group], position == depths[group] - 1
            return DictionaryBlock(
                windows=windows(num_heads=heads, shifted=bool(next(shifts))),
                categories=CategoryAttention(dim=dim, num_heads=heads, category_size=category_size),
                entries=DictionaryAttention(dim=dim, query_dim=query_dim, dictionary_size=dictionary_size),
                refinement=None if is_last else DictionaryRefinement(dictionary_size=dictionary_size),
                mlp=ConvFeedForward(dim=dim, hidden_dim=int(dim * mlp_ratio), kernel_side=kernel_side),
                dim=dim,
            )

        super().__init__(make_block, window_size, dim=dim, depths=depths, **frame)
        self.dictionaries = nn.ParameterList(torch.randn(dictionary_size, dim) for _ in depths)

    def run_groups(self, features: Tensor, backend: str) -> Tensor:
        """(B, H, W, C) to the same shape."""
        for group, first in zip(self.groups, self.dictionaries, strict=True):
            assert isinstance(group, ResidualGroup)
            mixed, dictionary = features, first.expand(len(features), -1, -1)
            for block in group.blocks:
                mixed, dictionary = block(mixed, dictionary, backend)
            features = group.close(mixed, features)
        return features
