"""ELAN's frame: blocks in which one attention module computes what the following ones reuse.

Paper:      Zhang et al., "Efficient Long-Range Attention Network for Image Super-Resolution", ECCV 2022,
            arXiv 2203.06697
Reference:  github.com/xindongzhang/ELAN at 97ab3fa0
Deviations: mean shifts and shift kernels are constants, not frozen parameters; a depth that would drop
            blocks silently is an error; images may be smaller than the padding.

Shape legend: B batch, C features, H/W low-resolution size, padded where a network pads.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srlab.layers.arguments import require_integer, require_positive
from srlab.layers.color import RGB_MEAN, rgb_mean
from srlab.layers.spatial_steps import steps_of
from srlab.models.network import AttentionNetwork
from srlab.ops.padding import pad_to_multiple
from srlab.ops.reach import Neighbours, Step, Upsampling
from srlab.ops.shift import shift_channels, shift_channels_by_convolution


class ShiftConvolution(nn.Module):
    """Shift groups of channels by one pixel, then mix all channels by a 1x1 convolution."""

    def __init__(self, *, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(dim_in, dim_out, 1)

    def spatial_steps(self) -> list[Step]:
        """One pixel to either side."""
        return [Neighbours(1)]

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, dim_in, H, W) to (B, dim_out, H, W)."""
        shift = shift_channels_by_convolution if backend == "reference" else shift_channels
        return self.mix(shift(features))


class LocalFeatures(nn.Module):
    """Local feature extraction (LFE): shift-convolution, ReLU, shift-convolution."""

    def __init__(self, *, dim: int, expansion: int) -> None:
        super().__init__()
        self.expand = ShiftConvolution(dim_in=dim, dim_out=dim * expansion)
        self.contract = ShiftConvolution(dim_in=dim * expansion, dim_out=dim)

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return self.contract(F.relu(self.expand(features, backend)), backend)


class SharedAttentionBlock(nn.Module):
    """Efficient long-range attention block (ELAB): 1 + n_share pairs of local features and attention.

    Args:
        dim: feature channels C.
        n_share: how many following modules reuse what the first one computes.
        expansion: channels inside the local feature extraction, in units of dim.
        make_attention: an attention module; true: it computes what is shared, false: it reuses it. It maps
            (B, C, H, W), what is shared (None where it is computed) and ``backend=`` to (B, C, H, W) and what
            following modules share.
    """

    def __init__(
        self, *, dim: int, n_share: int, expansion: int, make_attention: Callable[[bool], nn.Module]
    ) -> None:
        super().__init__()
        require_integer("expansion", expansion)
        self.local = nn.ModuleList(LocalFeatures(dim=dim, expansion=expansion) for _ in range(1 + n_share))
        self.attention = nn.ModuleList(make_attention(index == 0) for index in range(1 + n_share))

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, C, H, W) to the same shape."""
        shared = None
        for local, attention in zip(self.local, self.attention, strict=True):
            features = local(features, backend) + features
            mixed, handed_on = attention(features, shared, backend=backend)
            features = mixed + features
            shared = handed_on if shared is None else shared
        return features

    def spatial_steps(self) -> list[Step]:
        """Local features and attention in turn."""
        return steps_of(*chain.from_iterable(zip(self.local, self.attention, strict=True)))


class SharedAttentionNetwork(AttentionNetwork):
    """The frame; a subclass provides the blocks.

    Args:
        make_block: the block at a position, called in order, usually a :class:`SharedAttentionBlock`. It maps
            (B, C, H, W) and the name of the backend to (B, C, H, W).
        size_multiple: the image is padded to multiples of this before the first convolution.
        scale: 2, 3, 4 or any other integer.
        dim: feature channels C.
        depth: attention modules in all, m in the paper, a multiple of 1 + n_share.
        n_share: how many following modules of a block reuse what its first one computes.
        backend: see :class:`AttentionNetwork`.
        mean: colour in [0, 1] that is subtracted.
        value_range: the network sees (image - mean colour) times this.
    """

    @abstractmethod
    def __init__(
        self,
        make_block: Callable[[int], nn.Module],
        size_multiple: int = 1,
        *,
        scale: int,
        dim: int,
        depth: int,
        n_share: int,
        backend: str = "auto",
        mean: Sequence[float] = RGB_MEAN,
        value_range: float = 255.0,
    ) -> None:
        super().__init__(scale=scale, backend=backend)
        require_integer("dim", dim)
        self.size_multiple = size_multiple
        self.value_range = require_positive("value_range", value_range)
        self.register_buffer("color_offset", rgb_mean(value_range, mean), persistent=False)
        self.color_offset: Tensor
        self.head = nn.Conv2d(3, dim, 3, padding=1)
        self.body = nn.ModuleList(map(make_block, range(count_blocks(depth, n_share))))
        self.tail = nn.Conv2d(dim, 3 * scale**2, 3, padding=1)

    def spatial_steps(self) -> list[Step]:
        """Head, blocks, tail."""
        return [*steps_of(self.head, self.body, self.tail), Upsampling(self.scale)]

    def restore(self, lr_image: Tensor) -> Tensor:
        """Work without the mean colour, in 0..255 as the paper does or another range."""
        height, width = lr_image.shape[-2:]
        backend = self.backend_for(lr_image)
        image = pad_to_multiple(lr_image, self.size_multiple) * self.value_range - self.color_offset
        shallow = self.head(image.contiguous(memory_format=self.memory_format(backend, image.device)))
        features = self.run_body(shallow, backend) + shallow
        del shallow  # the peak of memory may be what follows
        image = F.pixel_shuffle(self.tail(features), self.scale)
        image = (image + self.color_offset).div_(self.value_range)
        return image[..., : height * self.scale, : width * self.scale]

    def memory_format(self, backend: str, device: torch.device) -> torch.memory_format:
        """The paper's in the reference; channels last elsewhere: windows are whole rows of channels."""
        return torch.contiguous_format if backend == "reference" else torch.channels_last

    def run_body(self, features: Tensor, backend: str) -> Tensor:
        """All blocks in their order: (B, C, H, W) to the same shape, another tensor."""
        for block in self.body:
            features = block(features, backend)
        return features


def channels_per_group(dim: int, sizes: Sequence[int], kind: str) -> int:
    """Channels of each group, if ``dim`` can be divided equally among windows or kernels of these sizes."""
    width, rest = divmod(dim, len(sizes))
    if rest:
        raise ValueError(
            f"dim={dim} channels cannot be divided equally among {len(sizes)} {kind} {list(sizes)}; "
            f"use a multiple of {len(sizes)}"
        )
    return width


def count_blocks(depth: int, n_share: int) -> int:
    """Number of blocks, if the modules divide into blocks without remainder.

    Raises:
        ValueError: they do not, or an argument is not an integer; the message names the nearest depths.
    """
    per_block = 1 + require_integer("n_share", n_share, minimum=0)
    require_integer("depth", depth)
    blocks, rest = divmod(depth, per_block)
    if rest:
        choices = [str(count * per_block) for count in (blocks, blocks + 1) if count]
        shares = ", ".join(str(size - 1) for size in range(1, depth + 1) if depth % size == 0)
        raise ValueError(
            f"depth={depth} modules do not divide into blocks of 1 + n_share = {per_block}; "
            f"{rest} would be dropped: use depth={' or '.join(choices)}, or n_share of {shares}"
        )
    return blocks
