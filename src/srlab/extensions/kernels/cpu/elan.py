"""ELAN on the CPU: two kernels for each pair of modules, on maps that are changed in place."""

from itertools import chain

import torch
from torch import Tensor, nn

from srlab.extensions.kernels.cpu.compiled import require_inference
from srlab.extensions.kernels.cpu.local_features import local_features, pack_convolutions
from srlab.extensions.kernels.cpu.window_attention import WindowGroup, attend_in_windows
from srlab.extensions.kernels.elan import affine, folded_projection, pairs_of, projection_tensors
from srlab.models.elan import ElanBlock, GroupAttention
from srlab.models.shared_attention import LocalFeatures


def elan_body(blocks: nn.ModuleList, features: Tensor) -> Tensor:
    """All blocks of an ELAN in evaluation: (B, C, H, W) to the same, float32."""
    require_inference(blocks.training, chain([features], blocks.parameters()))
    features = features.clone(memory_format=torch.contiguous_format)
    query, value = torch.empty_like(features), torch.empty_like(features)
    previous = None
    for block in blocks:
        assert isinstance(block, ElanBlock)
        for local, attention in pairs_of(block):
            _run_pair(local, attention, previous, (features, query, value))
            groups = _window_groups(attention, block.shifted)
            attend_in_windows(query, query, value, value, groups, None, 1.0, False)
            previous = attention
    assert previous is not None
    # in place, where a convolution would allocate its result and a copy of its input
    weight, bias = affine(previous.mix)
    features.flatten(2).baddbmm_(weight.flatten(1).expand(len(features), -1, -1), value.flatten(2))
    return features.add_(bias.view(-1, 1, 1))


def _run_pair(
    local: LocalFeatures,
    attention: GroupAttention,
    previous: GroupAttention | None,
    maps: tuple[Tensor, Tensor, Tensor],
) -> None:
    """What lies between two attentions: mix what ``previous`` averaged, local features, project."""
    features, query, value = maps
    # nothing is mixed before the first attention: any weights fill the place
    plain = [affine(c) for c in ((previous or attention).mix, local.expand.mix, local.contract.mix)]
    weights = attention.kernel_weights(
        lambda: pack_convolutions([*plain, folded_projection(attention)]),
        [*chain.from_iterable(plain), *projection_tensors(attention)],
        form="cpu",
    )
    hidden = local.expand.mix.out_channels
    local_features(features, query, value, weights, hidden, previous is not None, attention.computes_maps)


def _window_groups(attention: GroupAttention, shifted: bool) -> list[int]:
    """The numbers of a :class:`WindowGroup` for each group of channels, large windows first."""
    width = attention.mix.in_channels // len(attention.window_sizes)
    groups = [
        WindowGroup(side, side // 2 if shifted else 0, index * width, 1, width)
        for index, side in enumerate(attention.window_sizes)
    ]
    return [number for group in sorted(groups, reverse=True) for number in group]
