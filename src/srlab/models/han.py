"""HAN: RCAN whose groups are weighed against one another by layer attention.

Paper:      Niu et al., "Single Image Super-Resolution via a Holistic Attention Network", ECCV 2020,
            arXiv 2008.08767
Reference:  github.com/wwlCape/HAN at 0595e23a, src/model/han.py
Deviations: layer attention adds its input by the diagonal of its matrix, one product instead of three maps;
            weights in float16 are refused.

Shape legend: B batch, C features, H/W low-resolution size, N maps: one of each group and one of the
convolution after them.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from srlab.layers.channel_attention import channel_attention_groups
from srlab.layers.spatial_steps import steps_of
from srlab.models.residual_cnn import ResidualCNN
from srlab.ops.precision import without_autocast
from srlab.ops.reach import Step


class LayerAttention(nn.Module):
    """Each map plus a mean of all maps, those that resemble it the least weighing most (LAM).

    The authors' code subtracts the correlations from their maximum before the soft-max, so that the weight of
    a map falls with its correlation, and the map itself weighs little. ``gamma`` starts at 0.
    """

    global_parts: ClassVar[Mapping[str, str]] = {"weights": "layer attention"}

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def weights(self, maps: Tensor) -> Tensor:
        """(B, N, C, H, W) to (B, N, N), rows of sum 1, at least float32.

        Correlations are sums of C * H * W products, beyond what 16 bits hold.
        """
        vectors = maps.flatten(2)
        if vectors.dtype.itemsize < torch.float32.itemsize:
            vectors = vectors.float()
        return torch.softmax(-(vectors @ vectors.transpose(1, 2)), dim=-1)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, N, C, H, W) to (B, N * C, H, W)."""
        with without_autocast(maps.device):
            weights = self.weights(maps)
            identity = torch.eye(maps.shape[1], dtype=weights.dtype, device=maps.device)
            mixing = (self.gamma * weights + identity).to(maps.dtype)
            return (mixing @ maps.flatten(2)).view(maps.flatten(1, 2).shape)


class ChannelSpatialAttention(nn.Module):
    """Each value times 1 + gamma * (a number in (0, 1)) from its 27 neighbours in C, H, W (CSAM)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 1, 3, padding=1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        gate = torch.sigmoid(self.conv(features.unsqueeze(1)).squeeze(1))
        return features + features * (self.gamma * gate)


class HAN(ResidualCNN):
    """Holistic attention network.

    Args:
        dim: feature channels C.
        num_groups: groups of blocks, N - 1.
        depth: blocks in each group.
        squeeze_factor: the channel attention's hidden channels are dim divided by this, rounded down.
        frame: further arguments of :class:`ResidualCNN`.
    """

    beyond_float16 = "layer attention sums products over whole maps"
    float32_modules = r"layer_attention"

    def __init__(self, *, dim: int, num_groups: int, depth: int, squeeze_factor: int, **frame: Any) -> None:
        body = channel_attention_groups(
            dim=dim, num_groups=num_groups, depth=depth, squeeze_factor=squeeze_factor
        )
        super().__init__(body, dim=dim, **frame)
        # rounded to float32 after the product, as the authors' mean shift is
        offset = (self.mean.float() * self.value_range).float()
        self.register_buffer("color_offset", offset, persistent=False)
        self.color_offset: Tensor
        self.channel_spatial_attention = ChannelSpatialAttention()
        self.layer_attention = LayerAttention()
        self.conv_layers = nn.Conv2d((num_groups + 1) * dim, dim, 3, padding=1)
        self.conv_fuse = nn.Conv2d(2 * dim, dim, 3, padding=1)

    def spatial_steps(self) -> list[Step]:
        """The path through the layer attention; that through the other sees as far: one neighbour."""
        deep = steps_of(self.conv_first, self.body, self.conv_after_body, self.conv_layers, self.conv_fuse)
        return deep + steps_of(self.upsample, self.conv_last)

    def restore(self, lr_image: Tensor) -> Tensor:
        """Both attentions side by side: of all maps, newest first, and of the last one."""
        image = lr_image * self.value_range - self.color_offset
        shallow = self.conv_first(image.contiguous(memory_format=torch.channels_last))
        maps = [shallow]
        for stage in (*self.body, self.conv_after_body):
            maps.append(stage(maps[-1]))
        layers = self.conv_layers(self.layer_attention(torch.stack(maps[:0:-1], dim=1)))
        deep = self.conv_fuse(torch.cat([self.channel_spatial_attention(maps[-1]), layers], dim=1))
        return (self.conv_last(self.upsample(deep + shallow)) + self.color_offset) / self.value_range
