"""SwinIR's frame: groups of blocks at low resolution between a convolution and an up-sampling head.

Paper:      Liang et al., "SwinIR: Image Restoration Using Swin Transformer", ICCVW 2021, arXiv 2108.10257
Reference:  github.com/JingyunLiang/SwinIR at 65458505
Deviations: images may be smaller than the padding; no absolute position embedding, no head
            without upsampling.

Shape legend: B batch, C
features, H/W low-resolution size, padded where a network pads; maps are (B, H, W, C).
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from srlab.layers.arguments import require_entries, require_integer, require_positive
from srlab.layers.color import RGB_MEAN, rgb_mean
from srlab.layers.feed_forward import initialise_linear
from srlab.layers.spatial_steps import steps_of
from srlab.layers.upsample import build_head
from srlab.models.network import AttentionNetwork
from srlab.ops.padding import pad_to_multiple
from srlab.ops.reach import Step


class ResidualGroup(nn.Module):
    """Blocks, a convolution, and the input added: SwinIR's RSTB."""

    def __init__(self, *, blocks: Sequence[nn.Module], conv: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.conv = conv

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, H, W, C) to the same shape."""
        mixed = features
        for block in self.blocks:
            mixed = block(mixed, backend)
        return self.close(mixed, features)

    def close(self, mixed: Tensor, features: Tensor) -> Tensor:
        """What the blocks made of the group's input, through the convolution, and that input added."""
        return _convolve(self.conv, mixed) + features


class ResidualGroupNetwork(AttentionNetwork):
    """The frame; a subclass provides the blocks.

    Args:
        make_block: the block at (group, position), called in order; a block maps (B, H, W, C) and the name of
            the backend to (B, H, W, C).
        size_multiple: the image is padded to multiples of this before the first convolution.
        scale: 2, 3, 4 or any integer that the head can make.
        dim: feature channels C.
        depths: blocks in each group.
        head: one of :data:`srlab.layers.upsample.HEADS`.
        connection: ``1conv`` or ``3conv``, the convolutions after each group and after the body.
        value_range: the blocks see (image - mean colour) times this.
        backend: see :class:`AttentionNetwork`.
        mean: that colour, in [0, 1].
    """

    block_names = r"groups\.\d+\.blocks\.\d+"
    #: Extends (B, 3, H, W) at the bottom and the right to multiples of :attr:`size_multiple`.
    pad_image = staticmethod(pad_to_multiple)

    @abstractmethod
    def __init__(
        self,
        make_block: Callable[[int, int], nn.Module],
        size_multiple: int = 1,
        *,
        scale: int,
        dim: int,
        depths: Sequence[int],
        head: str,
        connection: str,
        value_range: float,
        backend: str = "auto",
        mean: Sequence[float] = RGB_MEAN,
    ) -> None:
        super().__init__(scale=scale, backend=backend)
        self.size_multiple = size_multiple
        self.value_range = require_positive("value_range", value_range)
        self.register_buffer("mean", rgb_mean(mean=mean), persistent=False)
        self.mean: Tensor
        self.conv_first = nn.Conv2d(3, require_integer("dim", dim), 3, padding=1)
        self.norm_in = nn.LayerNorm(dim)
        self.groups = nn.ModuleList(
            ResidualGroup(
                blocks=[make_block(group, position) for position in range(depth)],
                conv=_connection(connection, dim),
            )
            for group, depth in enumerate(depths)
        )
        self.norm_out = nn.LayerNorm(dim)
        self.conv_after_body = _connection(connection, dim)
        self.head = build_head(head, dim=dim, scale=scale)
        self.apply(initialise_linear)

    def spatial_steps(self) -> list[Step]:
        """First convolution, groups, last convolution, head."""
        return steps_of(self.conv_first, self.groups, self.conv_after_body, self.head)

    def restore(self, lr_image: Tensor) -> Tensor:
        """Pad, subtract the mean colour, restore, crop."""
        height, width = lr_image.shape[-2:]
        backend = self.backend_for(lr_image)
        image = (self.pad_image(lr_image, self.size_multiple) - self.mean) * self.value_range
        shallow = self.conv_first(image.contiguous(memory_format=torch.channels_last))
        features = self.run_groups(self.norm_in(shallow.permute(0, 2, 3, 1)), backend)
        features = _convolve(self.conv_after_body, self.norm_out(features)).permute(0, 3, 1, 2) + shallow
        image = self.head(features) / self.value_range + self.mean
        return image[..., : height * self.scale, : width * self.scale]

    def run_groups(self, features: Tensor, backend: str) -> Tensor:
        """(B, H, W, C) to the same shape; for blocks that hand more than features to the next."""
        for group in self.groups:
            features = group(features, backend)
        return features


def check_groups(dim: int, depths: Sequence[int], num_heads: Sequence[int]) -> None:
    """One depth and one number of heads for each group, all positive."""
    require_entries("group", depths=depths, num_heads=num_heads)
    require_integer("dim", dim)


def _convolve(conv: nn.Module, features: Tensor) -> Tensor:
    """Apply a convolution to (B, H, W, C): PyTorch's channels-last layout, nothing is copied."""
    return conv(features.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _connection(kind: str, dim: int) -> nn.Module:
    """The convolution at the end of a group: plain, or a bottleneck of a quarter of the channels."""
    if kind == "1conv":
        return nn.Conv2d(dim, dim, 3, padding=1)
    if kind == "3conv":
        return nn.Sequential(
            nn.Conv2d(dim, dim // 4, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(dim // 4, dim // 4, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(dim // 4, dim, 3, padding=1),
        )
    raise ValueError(f"unknown connection {kind!r}; choose 1conv or 3conv")
