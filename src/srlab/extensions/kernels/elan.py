"""Weights of ELAN's modules as kernels read them: batch norms folded, all queries before all values."""

from einops import rearrange
from torch import Tensor, nn

from srlab.layers.folding import fold_batch_norm
from srlab.models.elan import ElanBlock, GroupAttention
from srlab.models.shared_attention import LocalFeatures


def pairs_of(block: ElanBlock) -> list[tuple[LocalFeatures, GroupAttention]]:
    """The modules of a block, in order."""
    return list(zip(block.local, block.attention, strict=True))  # pyright: ignore[reportReturnType]


def affine(convolution: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias."""
    assert convolution.bias is not None
    return convolution.weight, convolution.bias


def folded_projection(attention: GroupAttention) -> tuple[Tensor, Tensor]:
    """Weight and bias of the projection with its norm; the module has queries and values by groups."""
    weight, bias = fold_batch_norm(attention.project, attention.norm)
    if not attention.computes_maps:
        return weight, bias
    groups = len(attention.window_sizes)
    return (
        rearrange(weight, "(g p d) k h w -> (p g d) k h w", g=groups, p=2),
        rearrange(bias, "(g p d) -> (p g d)", g=groups, p=2),
    )


def projection_tensors(attention: GroupAttention) -> list[Tensor]:
    """All that :func:`folded_projection` reads; by name, because walks through modules are slow."""
    norm, tensors = attention.norm, [*affine(attention.project)]
    if isinstance(norm, nn.BatchNorm2d):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        tensors += [norm.weight, norm.bias, norm.running_mean, norm.running_var]
    return tensors
