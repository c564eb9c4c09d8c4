"""Attention that each layer multiplies by that of the layer before, and narrows to its largest shares.

Paper:      Long et al., "Progressive Focused Transformer for Single Image Super-Resolution", CVPR 2025, arXiv
            2503.20337
Reference:  github.com/LabShuHangGU/PFT-SR at 7d4a6874, basicsr/archs/pft_arch.py

Shape legend: W windows, T tokens of a window, M heads, d channels of a head, K tokens that one attends to.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from srlab.ops.attention import region_mask

#: All windows at once, and maps of all tokens handed on, as in the authors' code.
REFERENCE = "reference"
#: A few windows at a time; maps of all tokens are computed again by the layer that multiplies them.
STREAMED = "streamed"

# The authors' guard against shares that are all 0.
_EPSILON = 1e-20
# Entries of a map of all tokens at a time: 64 MB in float32.
_SLAB = 2**24
# Windows of at most 181x181 tokens.
_INDEX = torch.int16


class Layer(NamedTuple):
    """What a layer compares.

    Attributes:
        query: (W, M, T, d), scaled.
        key: (W, M, T, d).
        bias: (M, T, T), or (1, T, T) for all heads.
        regions: (W, T) numbers of regions that do not attend to one another; None: all do.
    """

    query: Tensor
    key: Tensor
    bias: Tensor
    regions: Tensor | None

    def part(self, windows: slice) -> "Layer":
        """Of some windows."""
        regions = None if self.regions is None else self.regions[windows]
        return Layer(self.query[windows], self.key[windows], self.bias, regions)


class Focus(NamedTuple):
    """What one layer hands to the next that attends in the same windows.

    Attributes:
        shares: (W, M, T, K) of each token's attention; None where ``layers`` determine them.
        tokens: (W, M, T, K) to whom; None: to all T in order.
        layers: those that compared all tokens, first to last.
    """

    shares: Tensor | None = None
    tokens: Tensor | None = None
    layers: tuple[Layer, ...] = ()


def focus(
    layer: Layer, value: Tensor, before: tuple[Focus, ...], *, keep: int, form: str
) -> tuple[Tensor, tuple[Focus, ...]]:
    """Attend with shares that are multiplied by those before, of which the ``keep`` largest stay.

    Args:
        layer: see there.
        value: (W, M, T, d).
        before: of the layer before in these windows, one for each part of them; empty: there is none.
        keep: K, at most as many as before.
        form: :data:`REFERENCE` or :data:`STREAMED`, the same function.

    Returns:
        (W, M, T, d), and what the next layer needs.
    """
    if form == REFERENCE:
        mixed, after = _focus(layer, value, before[0] if before else Focus(), keep, dense=False)
        return mixed, (after,)
    windows, heads, length = layer.query.shape[:3]
    step = max(1, _SLAB // (heads * length**2))
    parts, mixed = [], []
    for index, start in enumerate(range(0, windows, step)):
        part = slice(start, start + step)
        result, after = _streamed(layer.part(part), value[part], before[index] if before else Focus(), keep)
        mixed.append(result)
        parts.append(after)
    return torch.cat(mixed), tuple(parts)


def _streamed(layer: Layer, value: Tensor, before: Focus, keep: int) -> tuple[Tensor, Focus]:
    """Of a few windows: no map of all tokens is handed on, and no list of tokens in 64 bits."""
    layers = before.layers
    if before.tokens is not None:
        before = Focus(before.shares, before.tokens.long())
    else:
        before = Focus()
        for each in layers:
            before = Focus(_shares(each, before))
    mixed, after = _focus(layer, value, before, keep, dense=True)
    if after.tokens is None:
        return mixed, Focus(layers=(*layers, layer))
    return mixed, Focus(after.shares, after.tokens.to(_INDEX))


def _focus(layer: Layer, value: Tensor, before: Focus, keep: int, *, dense: bool) -> tuple[Tensor, Focus]:
    """``dense`` takes products of all tokens where they are smaller than what they are chosen from."""
    shares, tokens = _shares(layer, before, dense=dense), before.tokens
    if keep < shares.shape[-1]:
        shares, largest = shares.topk(keep, dim=-1, sorted=False)
        tokens = largest if tokens is None else tokens.gather(-1, largest)
    return _mix(shares.to(value.dtype), value, tokens, dense=dense), Focus(shares, tokens)


def _shares(layer: Layer, before: Focus, *, dense: bool = False) -> Tensor:
    """(W, M, T, K) soft-max of the logits, times the shares before, so that their sum is 1 again."""
    logits = _logits(layer, before.tokens, dense=dense)
    shares = torch.softmax(logits, dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    if before.shares is None:
        return shares
    shares = shares * before.shares + _EPSILON
    return shares / (shares.sum(-1, keepdim=True) + _EPSILON)


def _logits(layer: Layer, tokens: Tensor | None, *, dense: bool) -> Tensor:
    """(W, M, T, K): q k^T and the bias of the pairs. Regions matter to layers that compare all tokens."""
    query, key, bias, regions = layer
    if tokens is None:
        logits = query @ key.transpose(-2, -1) + bias
        if regions is None:
            return logits
        return logits + region_mask(regions[:, None], bias.dtype)
    if dense and _is_wide(tokens, key):
        return (query @ key.transpose(-2, -1) + bias).gather(-1, tokens)
    logits = (query[..., None, :] @ _rows(key, tokens).transpose(-2, -1)).squeeze(-2)
    return logits + _pairs(bias, tokens)


def _mix(shares: Tensor, value: Tensor, tokens: Tensor | None, *, dense: bool) -> Tensor:
    """(W, M, T, d): the sum of the values of ``tokens`` by their shares."""
    if tokens is None:
        return shares @ value
    if dense and _is_wide(tokens, value):
        maps = shares.new_zeros([*shares.shape[:-1], value.shape[-2]])
        return maps.scatter(-1, tokens, shares) @ value
    return (shares[..., None, :] @ _rows(value, tokens)).squeeze(-2)


def _is_wide(tokens: Tensor, vectors: Tensor) -> bool:
    """Whether the vectors of these tokens take more memory than a map of all tokens."""
    return tokens.shape[-1] * vectors.shape[-1] > vectors.shape[-2]


def _rows(vectors: Tensor, tokens: Tensor) -> Tensor:
    """(W, M, T, d) by (W, M, T, K) to (W, M, T, K, d)."""
    index = tokens.flatten(2)[..., None].expand(-1, -1, -1, vectors.shape[-1])
    return vectors.gather(2, index).unflatten(2, tokens.shape[2:])


def _pairs(bias: Tensor, tokens: Tensor) -> Tensor:
    """(W, M, T, K) entries of the bias."""
    heads, length = bias.shape[:2]
    rows = torch.arange(heads * length, device=bias.device).view(heads, length, 1)
    return bias.flatten().gather(0, (rows * length + tokens).flatten()).view(tokens.shape)
