"""ELAN on the CPU: two kernels for each pair of modules, on maps that are changed in place.

Training has kernels with gradients, one for each operator.
"""

from itertools import chain

import torch
from torch import Tensor, nn

from srlab.extensions.kernels.cpu.compiled import records_gradients
from srlab.extensions.kernels.cpu.local_features import local_features, pack_convolutions
from srlab.extensions.kernels.cpu.training import self_similarity_attention, shift_convolution
from srlab.extensions.kernels.cpu.window_attention import WindowGroup, attend_in_windows
from srlab.extensions.kernels.elan import affine, folded_projection, pairs_of, projection_tensors
from srlab.models.elan import ElanBlock, GroupAttention
from srlab.models.shared_attention import LocalFeatures


def elan_body(blocks: nn.ModuleList, features: Tensor) -> Tensor:
    """All blocks of an ELAN: (B, C, H, W) to the same, float32."""
    if records_gradients(blocks.training, chain([features], blocks.parameters())):
        for block in blocks:
            features = block(features, "fused")
        return features
    features = features.clone(memory_format=torch.contiguous_format)
    query, value = torch.empty_like(features), torch.empty_like(features)
    previous = None
    for block in blocks:
        assert isinstance(block, ElanBlock)
        for local, attention in pairs_of(block):
            _run_pair(local, attention, previous, (features, query, value))
            # large windows first
            groups = sorted(_window_groups(attention, projected=False), reverse=True)
            numbers = [number for group in groups for number in group]
            attend_in_windows(query, query, value, value, numbers, None, 1.0, False)
            previous = attention
    assert previous is not None
    # in place, where a convolution would allocate its result and a copy of its input
    weight, bias = affine(previous.mix)
    features.flatten(2).baddbmm_(weight.flatten(1).expand(len(features), -1, -1), value.flatten(2))
    return features.add_(bias.view(-1, 1, 1))


def elan_block(block: ElanBlock, features: Tensor) -> Tensor:
    """One block with gradients: (B, C, H, W) to the same, float32; batch norms in the mode of the module."""
    query = None
    for local, attention in pairs_of(block):
        attention.kernel_weights.clear()  # the parameters are about to change
        hidden = shift_convolution(features, *affine(local.expand.mix), shifts=True, relu=True)
        features = shift_convolution(hidden, *affine(local.contract.mix), shifts=True, relu=False) + features
        projected = shift_convolution(features, *affine(attention.project), shifts=False, relu=False)
        value = attention.norm(projected)
        query = value if query is None else query
        mixed = self_similarity_attention(query, value, _window_groups(attention, projected=True))
        features = shift_convolution(mixed, *affine(attention.mix), shifts=False, relu=False) + features
    return features


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


def _window_groups(attention: GroupAttention, *, projected: bool) -> list[WindowGroup]:
    """One for each size; ``projected``: in maps as modules project them, q and v of a group together."""
    width = attention.mix.in_channels // len(attention.window_sizes)
    groups = []
    for index, side in enumerate(attention.window_sizes):
        first = index * width
        query = 2 * first if projected else first
        value = query + width if projected and attention.computes_maps else first
        groups.append(WindowGroup(side, side // 2 if attention.shifted else 0, query, value, first, 1, width))
    return groups
