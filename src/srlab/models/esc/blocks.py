"""The common parts of all ESC networks, small ones first.

Shape legend: B batch, C features, P channels that convolutional attention mixes (the first P of C), H/W
low-resolution size, K side of the large kernel (odd), S window side, T = S * S tokens, M heads, d = C / M;
maps are (B, C, H, W). Arguments ``dim`` are C, or P in kernels and their predictors; ``mixed_dim`` is P.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srlab.layers.feed_forward import ChannelNorm, MapFeedForward
from srlab.layers.folding import Foldable, fold_layer_norm
from srlab.layers.implicit_bias import GatedWindowAttention
from srlab.layers.spatial_steps import steps_of
from srlab.layers.window_attention import MultiHeadWindows
from srlab.ops.kernels import find_kernel
from srlab.ops.padding import pad_to_multiple
from srlab.ops.reach import Neighbours, Reflection, Step, Windows
from srlab.ops.windows import merge_windows, split_windows

# Side of the kernels that are predicted for each image.
PREDICTED_SIDE = 3


class SymmetricKernel(nn.Module):
    """Dense kernel, shared by all blocks, that treats an image and its rotated or mirrored copies the same.

    The kernel is the mean of the 8 rotations and reflections of the weight, in training and evaluation.
    """

    def __init__(self, *, dim: int, side: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, dim, side, side))
        nn.init.orthogonal_(self.weight)

    def forward(self) -> Tensor:
        """(P, P, K, K)."""
        kernel = self.weight + self.weight.flip(-1)
        kernel = kernel + kernel.flip(-2)
        return (kernel + kernel.transpose(-2, -1)) / 8


class KernelPredictor(nn.Module):
    """A 3x3 kernel for every channel of every image, from the channels' means over the whole map."""

    global_parts: ClassVar[Mapping[str, str]] = {"forward": "predicted kernels"}

    def __init__(self, *, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(dim, hidden_dim, 1)
        self.predict = nn.Conv2d(hidden_dim, dim * PREDICTED_SIDE**2, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, P, H, W) to (B, P, 3, 3)."""
        kernels = self.predict(F.gelu(self.squeeze(features.mean((-2, -1), keepdim=True))))
        return kernels.view(len(features), -1, PREDICTED_SIDE, PREDICTED_SIDE)


def convolve_each(features: Tensor, kernels: Tensor) -> Tensor:
    """Convolve every channel of every image with a kernel of its own; zeros outside.

    Args:
        features: (B, P, H, W).
        kernels: (B, P, K, K), K odd.
    """
    images = kernels.flatten(0, 1)[:, None]
    mixed = F.conv2d(features.flatten(0, 1)[None], images, padding=kernels.shape[-1] // 2, groups=len(images))
    return mixed.reshape(features.shape)


class ConvolutionalAttention(nn.Module):
    """The first P channels are convolved with the large shared kernel and with small predicted ones."""

    def __init__(self, *, dim: int, mixed_dim: int) -> None:
        super().__init__()
        self.mixed_dim = mixed_dim
        self.predictor = KernelPredictor(dim=mixed_dim, hidden_dim=mixed_dim // 2)
        # Training starts with the shared kernel only.
        nn.init.zeros_(self.predictor.predict.weight)
        nn.init.zeros_(self.predictor.predict.bias)  # pyright: ignore[reportArgumentType] it has one
        self.mix = nn.Conv2d(dim, dim, 1)

    def forward(self, features: Tensor, kernel: Tensor) -> Tensor:
        """(B, C, H, W) and the shared kernel, (P, P, K, K), to (B, C, H, W)."""
        near, rest = features.tensor_split((self.mixed_dim,), dim=1)
        far = F.conv2d(near, kernel, padding=kernel.shape[-1] // 2)
        mixed = far + convolve_each(near, self.predictor(near))
        return self.mix(torch.cat((mixed, rest), dim=1))


class WindowAttention(MultiHeadWindows):
    """Attention of ESC's blocks: windows of a map of any size, between 1x1 convolutions."""

    def __init__(self, *, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__(dim=dim, num_heads=num_heads, window_size=window_size, std=0.001)
        self.qkv = nn.Conv2d(dim, 3 * dim, 1)
        self.out = nn.Conv2d(dim, dim, 1)

    def spatial_steps(self) -> list[Step]:
        """Padding, windows."""
        return [Reflection(self.window_size), Windows(self.window_size)]

    def forward(self, features: Tensor, backend: str) -> Tensor:
        """(B, C, H, W) of any size to the same shape; padded to whole windows by reflection inside."""
        height, width = features.shape[-2:]
        qkv = self.qkv(pad_to_multiple(features, self.window_size)).permute(0, 2, 3, 1)
        kernel = find_kernel("window_attention", backend, features.device)
        if kernel is not None:
            mixed = self.on_map(qkv.contiguous(), kernel)  # kernels read adjacent channels
        else:
            windows = split_windows(qkv, self.window_size)
            mixed = self.in_windows(windows, height=qkv.shape[1], backend=backend)
            mixed = merge_windows(mixed, self.window_size, qkv.shape[1])
        return self.out(mixed.permute(0, 3, 1, 2)[..., :height, :width])


class ConvolutionStep(nn.Module, Foldable):
    """Feed-forward network, then convolutional attention, and the input added.

    Args:
        dim: channels C.
        hidden_dim: channels inside the feed-forward network.
        mixer: maps (B, C, H, W) and the shared kernel to (B, C, H, W).
        normed: begin with a norm.
    """

    def __init__(self, *, dim: int, hidden_dim: int, mixer: nn.Module, normed: bool) -> None:
        super().__init__()
        self.norm = ChannelNorm(dim=dim) if normed else nn.Identity()
        self.feed_forward = MapFeedForward(dim=dim, hidden_dim=hidden_dim)
        self.mixer = mixer

    def fold(self) -> None:
        """The norm's factors and offsets become part of the convolution behind it."""
        if isinstance(self.norm, ChannelNorm):
            fold_layer_norm(self.norm, self.feed_forward.expand)

    def forward(self, features: Tensor, kernel: Tensor | tuple[Tensor, ...]) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return features + self.mixer(self.feed_forward(self.norm(features)), kernel)


class EscBlock(nn.Module, Foldable):
    """One window attention, then steps of convolutional attention, and the input added.

    Args:
        dim: channels C.
        hidden_dim: channels inside the first feed-forward network, around which there is no residual.
        attention: the window attention.
        steps: the steps.
    """

    def __init__(
        self,
        *,
        dim: int,
        hidden_dim: int,
        attention: WindowAttention | GatedWindowAttention,
        steps: list[ConvolutionStep],
    ) -> None:
        super().__init__()
        self.norm_in = ChannelNorm(dim=dim)
        self.feed_forward = MapFeedForward(dim=dim, hidden_dim=hidden_dim)
        self.norm_attention = ChannelNorm(dim=dim)
        self.attention = attention
        self.steps = nn.ModuleList(steps)
        self.norm_out = ChannelNorm(dim=dim)
        self.conv_out = nn.Conv2d(dim, dim, 3, padding=1)

    def steps_with_kernel(self, kernel_side: int) -> list[Step]:
        """Attention, steps with the shared kernel; kernels that are predicted for the image are smaller."""
        steps = steps_of(self.feed_forward, self.attention)
        for step in self.steps:
            assert isinstance(step, ConvolutionStep)
            steps += [*steps_of(step.feed_forward), Neighbours(kernel_side // 2)]
        return [*steps, *steps_of(self.conv_out)]

    def fold(self) -> None:
        """As in the steps; norms before a 3x3 convolution stay, because zeros surround what it sees.

        Such are the last one and, where the attention has a gate, the attention's.
        """
        fold_layer_norm(self.norm_in, self.feed_forward.expand)
        if isinstance(self.attention, WindowAttention):
            fold_layer_norm(self.norm_attention, self.attention.qkv)

    def forward(self, features: Tensor, kernel: Tensor | tuple[Tensor, ...], backend: str) -> Tensor:
        """(B, C, H, W) of any size to the same shape; ``kernel`` is what the mixers of the steps share."""
        inner = self.feed_forward(self.norm_in(features))
        inner = inner + self.attention(self.norm_attention(inner), backend)
        for step in self.steps:
            inner = step(inner, kernel)
        return self.conv_out(self.norm_out(inner)) + features
