"""ELAN: efficient long-range attention network.

Paper:      Zhang et al., "Efficient Long-Range Attention Network for Image Super-Resolution", ECCV 2022,
            arXiv 2203.06697
Reference:  github.com/xindongzhang/ELAN at 97ab3fa0
Deviations: mean shifts and shift kernels are constants, not frozen parameters; a depth that would drop
            blocks silently is an error; images may be smaller than the padding; backend "sdpa" hands
            queries, not maps, to sharing modules.

Shape legend: B batch, C features, H/W padded low-resolution size, S window side, T = S * S tokens, G number
of window sizes, d = C / G channels of a group; windows are (B * H/S, W/S, T, d).
"""

import math
from collections.abc import Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from srlab.extensions.kernels import cpu as native
from srlab.extensions.kernels.triton import group_window_attention
from srlab.layers.arguments import require_integer
from srlab.layers.at_rest import KeptAtRest
from srlab.layers.color import RGB_MEAN
from srlab.layers.folding import Foldable, absorb_batch_norm, fold_batch_norm
from srlab.layers.shift_convolution import LocalFeatures
from srlab.models.shared_attention import SharedAttentionBlock, SharedAttentionNetwork, count_blocks
from srlab.ops.group_attention import attend_as_published, attend_channels_last
from srlab.ops.shift import resolve_shift_schedule
from srlab.ops.window_attention import runs_natively

__all__ = ["ELAN", "ElanBlock", "GroupAttention"]


class GroupAttention(nn.Module, Foldable):
    """Group-wise multi-scale self-attention (GMSA): a window size for each group, queries serve as keys."""

    def __init__(self, *, dim: int, window_sizes: Sequence[int], computes_maps: bool) -> None:
        super().__init__()
        self.window_sizes = tuple(window_sizes)
        self.computes_maps = computes_maps
        self.project = nn.Conv2d(dim, 2 * dim if computes_maps else dim, 1)
        self.norm: nn.Module = nn.BatchNorm2d(2 * dim if computes_maps else dim)
        self.mix = nn.Conv2d(dim, dim, 1)
        self._folded = KeptAtRest()
        self._packed = KeptAtRest()

    def forward(
        self, features: Tensor, shared: list[Tensor] | None, *, shifted: bool, backend: str
    ) -> tuple[Tensor, list[Tensor]]:
        """Attend inside windows.

        Args:
            features: (B, C, H, W); H and W must be multiples of every window side.
            shared: one tensor for each group from the module that computed: the maps (``reference``) or the
                queries (``sdpa``); None in that module itself.
            shifted: move the windows of each group cyclically by half their side.
            backend: ``reference``, ``sdpa``, or ``fused`` on a GPU, where the map of queries is shared.

        Returns:
            (B, C, H, W), and what following modules share.
        """
        if self.computes_maps == (shared is not None):
            raise ValueError("the first module of a block computes its maps, the others need the shared ones")
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            self._packed.forget()
        if backend == "fused":
            return self._attend_to_map(features, shared, shifted)
        attend = attend_as_published if backend == "reference" else attend_channels_last
        groups = self.norm(self.project(features)).chunk(len(self.window_sizes), dim=1)
        outputs, handed_on = [], []
        for index, (group, side) in enumerate(zip(groups, self.window_sizes, strict=True)):
            shift = side // 2 if shifted else 0
            mixed, keep = attend(group, None if shared is None else shared[index], side, shift)
            outputs.append(mixed)
            handed_on.append(keep)
        return self.mix(torch.cat(outputs, dim=1)), handed_on

    def fold(self) -> None:
        """The batch norm becomes part of the convolution before it."""
        self.norm = absorb_batch_norm(self.project, self.norm)

    def _attend_to_map(
        self, features: Tensor, shared: list[Tensor] | None, shifted: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """By Triton kernels, on maps whose channels lie side by side."""
        query, value = self._query_and_value(features)
        query = query if shared is None else shared[0]
        assert query is not None
        mixed = group_window_attention(query, value, sides=self.window_sizes, shifted=shifted)
        mixed = F.linear(mixed, self.mix.weight.flatten(1), self.mix.bias)
        return mixed.permute(0, 3, 1, 2), [query]

    def _query_and_value(self, features: Tensor) -> tuple[Tensor | None, Tensor]:
        """(B, H, W, C) each, the query None where it is reused; in evaluation with the norm folded."""
        groups = len(self.window_sizes)
        if self.training:
            maps = self.norm(self.project(features)).permute(0, 2, 3, 1)
            if self.computes_maps:
                maps = rearrange(maps, "b h w (g p d) -> b h w (p g d)", g=groups, p=2)
        else:
            flat = self._folded(
                lambda: torch.cat([tensor.flatten() for tensor in self._folded_projection()]),
                [*_affine(self.project), *self._norm_tensors()],
            )
            weight, bias = flat.split((self.project.weight.numel(), self.project.out_channels))
            maps = F.linear(features.permute(0, 2, 3, 1), weight.view(self.project.out_channels, -1), bias)
        if not self.computes_maps:
            return None, maps
        query, value = maps.chunk(2, dim=-1)
        return query, value

    def step_natively(
        self, local: LocalFeatures, previous: "GroupAttention | None", maps: tuple[Tensor, ...], shift: bool
    ) -> None:
        """``local`` and this module on the CPU kernels, in place, after the last step's 1x1 convolution.

        Args:
            local: what stands before this module.
            previous: the module before that one; None in front of the first.
            maps: features, query and value, each (B, C, H, W); value holds what ``previous`` averaged.
            shift: move the windows of each group cyclically by half their side.
        """
        features, query, value = maps
        hidden = local.expand.mix.out_channels
        # nothing is mixed before the first step: any weights fill the place
        plain = [_affine(c) for c in ((previous or self).mix, local.expand.mix, local.contract.mix)]
        weights = self._packed(
            lambda: native.pack_convolutions([*plain, self._folded_projection()]),
            [tensor for pair in (*plain, _affine(self.project)) for tensor in pair] + self._norm_tensors(),
        )
        native.local_features(
            features, query, value, weights, hidden, previous is not None, self.computes_maps
        )
        native.attend_in_windows(query, query, value, value, self._window_groups(shift), None, 1.0, False)

    def _norm_tensors(self) -> list[Tensor]:
        """What the norm depends on, named: walks through modules took 1 % of the time of 128x128 pixels."""
        norm = self.norm
        if isinstance(norm, nn.Identity):
            return []
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        return [norm.weight, norm.bias, norm.running_mean, norm.running_var]

    def _folded_projection(self) -> tuple[Tensor, Tensor]:
        """Weight and bias with the norm, all queries before all values; the module has them by groups."""
        weight, bias = fold_batch_norm(self.project, self.norm)
        if not self.computes_maps:
            return weight, bias
        groups = len(self.window_sizes)
        return (
            rearrange(weight, "(g p d) k h w -> (p g d) k h w", g=groups, p=2),
            rearrange(bias, "(g p d) -> (p g d)", g=groups, p=2),
        )

    def _window_groups(self, shifted: bool) -> list[int]:
        """The numbers of a ``WindowGroup`` of the CPU kernels for each group, large windows first."""
        width = self.mix.in_channels // len(self.window_sizes)
        groups = [
            native.WindowGroup(side, side // 2 if shifted else 0, index * width, 1, width)
            for index, side in enumerate(self.window_sizes)
        ]
        return [number for group in sorted(groups, reverse=True) for number in group]


def _affine(convolution: nn.Conv2d) -> tuple[Tensor, Tensor]:
    assert convolution.bias is not None
    return convolution.weight, convolution.bias


class ElanBlock(SharedAttentionBlock):
    """Efficient long-range attention block (ELAB): 1 + n_share pairs of modules, one set of maps."""

    def __init__(
        self, *, dim: int, n_share: int, window_sizes: Sequence[int], expansion: int, shifted: bool
    ) -> None:
        def make_attention(computes: bool) -> GroupAttention:
            return GroupAttention(dim=dim, window_sizes=window_sizes, computes_maps=computes)

        super().__init__(dim=dim, n_share=n_share, expansion=expansion, make_attention=make_attention)
        self.shifted = shifted

    def add_local(self, local: LocalFeatures, features: Tensor, backend: str) -> Tensor:
        """In one kernel if the back end is ``fused``."""
        if backend == "fused":
            return local.added_by_kernels(features)
        return super().add_local(local, features, backend)

    def attend(
        self, attention: nn.Module, features: Tensor, shared: list[Tensor] | None, backend: str
    ) -> tuple[Tensor, list[Tensor]]:
        """All modules of a block shift their windows, or none."""
        return attention(features, shared, shifted=self.shifted, backend=backend)


class ELAN(SharedAttentionNetwork):
    """Efficient long-range attention network.

    Args:
        scale: 2, 3, 4 or any other integer.
        dim: feature channels C, a multiple of the number of window sizes.
        depth: attention modules in all, m in the paper, a multiple of 1 + n_share.
        n_share: how many following modules reuse the maps that one module computes.
        window_sizes: side of the windows of each group of channels; any number of groups.
        expansion: channels inside the local feature extraction, in units of dim.
        shift_schedule: which blocks shift their windows, see :func:`srlab.ops.shift.resolve_shift_schedule`.
        backend: see :class:`AttentionNetwork`.
        mean: colour in [0, 1] that is subtracted.
        value_range: the network sees (image - mean colour) times this.
    """

    backends = ("reference", "sdpa", "fused")

    def __init__(
        self,
        *,
        scale: int,
        dim: int,
        depth: int,
        n_share: int,
        window_sizes: Sequence[int],
        expansion: int,
        shift_schedule: str | Sequence[bool | int],
        backend: str = "auto",
        mean: Sequence[float] = RGB_MEAN,
        value_range: float = 255.0,
    ) -> None:
        window_sizes = _checked_windows(window_sizes, require_integer("dim", dim))
        shifts = resolve_shift_schedule(shift_schedule, [count_blocks(depth, n_share)])

        def make_block(index: int) -> ElanBlock:
            return ElanBlock(
                dim=dim,
                n_share=n_share,
                window_sizes=window_sizes,
                expansion=expansion,
                shifted=shifts[index],
            )

        super().__init__(
            scale=scale,
            dim=dim,
            depth=depth,
            n_share=n_share,
            expansion=expansion,
            make_block=make_block,
            size_multiple=math.lcm(*window_sizes),
            backend=backend,
            mean=mean,
            value_range=value_range,
        )

    def automatic_backend(self, device: torch.device, dtype: torch.dtype) -> str:
        """The fastest that was measured (docs/speed.md): the own kernels where they serve."""
        return "fused" if self.infers_natively(device, dtype) else "sdpa"

    def run_body(self, features: Tensor, backend: str) -> Tensor:
        """All blocks; on a CPU ``fused`` runs two kernels for each pair of modules."""
        if backend == "fused" and runs_natively(features.device):
            return self._run_natively(features)
        return super().run_body(features, backend)

    def _run_natively(self, features: Tensor) -> Tensor:
        native.require_inference(self.training, chain([features], self.parameters()))
        features = features.clone(memory_format=torch.contiguous_format)
        query, value = torch.empty_like(features), torch.empty_like(features)
        previous = None
        for block in self.body:
            assert isinstance(block, ElanBlock)
            for local, attention in zip(block.local, block.attention, strict=True):
                assert isinstance(local, LocalFeatures)
                assert isinstance(attention, GroupAttention)
                attention.step_natively(local, previous, (features, query, value), block.shifted)
                previous = attention
        assert previous is not None
        # in place, where a convolution would allocate its result and a copy of its input
        weight, bias = _affine(previous.mix)
        features.flatten(2).baddbmm_(weight.flatten(1).expand(len(features), -1, -1), value.flatten(2))
        return features.add_(bias.view(-1, 1, 1))

    def memory_format(self, backend: str, device: torch.device) -> torch.memory_format:
        """The CPU kernels read whole rows of one channel."""
        if backend == "fused" and runs_natively(device):
            return torch.contiguous_format
        return super().memory_format(backend, device)


def _checked_windows(window_sizes: Sequence[int], dim: int) -> tuple[int, ...]:
    """The window sides, if the channels can be divided among them."""
    if isinstance(window_sizes, (str, int)) or not len(window_sizes):
        raise ValueError(f"window_sizes must be a list of at least one window side, got {window_sizes!r}")
    sizes = tuple(require_integer("every entry of window_sizes", side) for side in window_sizes)
    if dim % len(sizes):
        raise ValueError(
            f"dim={dim} channels cannot be divided equally among {len(sizes)} windows {list(sizes)}; "
            f"use a multiple of {len(sizes)}"
        )
    return sizes
