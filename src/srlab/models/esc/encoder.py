"""The common encoder of ESC's networks: features at low resolution.

Paper:      Lee et al., "Emulating Self-attention with Convolution for Efficient Image Super-Resolution",
            ICCV 2025, arXiv 2503.06671
Reference:  github.com/dslisleedh/ESC at e7e6938c
Deviations: evaluation takes batches of any size and is the same function as training; images may be smaller
            than the padding of their windows; the shared kernel is averaged once for all blocks; tables of
            relative positions hold the query's position minus the key's, as in Swin, not the reverse.

Shape legend: B batch, C features, P channels that convolutional attention mixes, H/W low-resolution size, K
side of the shared kernel, S window size.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from srlab.layers.arguments import require_channels, require_counts, require_integer
from srlab.layers.implicit_bias import GatedWindowAttention
from srlab.layers.spatial_steps import steps_of
from srlab.models.esc.blocks import (
    PREDICTED_SIDE,
    ConvolutionalAttention,
    ConvolutionStep,
    EscBlock,
    SymmetricKernel,
    WindowAttention,
)
from srlab.models.network import AttentionNetwork
from srlab.ops.reach import Step

_PREDICTED_KERNELS = (
    "its convolutions with predicted kernels have as many groups as the batch has channels, which PyTorch's "
    "exporter cannot leave open (github.com/pytorch/pytorch/issues/98497)"
)


class EscEncoder(nn.Module):
    """Image to features: convolution, blocks, convolution, and the output of the first added.

    Args:
        dim: feature channels C.
        kernel_side: side K.
        kernel: computes what all steps share, in every forward pass.
        blocks: in order.
        norm_last: applied before the last convolution.
    """

    def __init__(
        self,
        *,
        dim: int,
        kernel_side: int,
        kernel: nn.Module,
        blocks: Iterable[EscBlock],
        norm_last: nn.Module,
    ) -> None:
        super().__init__()
        self.kernel_side = kernel_side
        self.kernel = kernel
        self.first = nn.Conv2d(3, dim, 3, padding=1)
        self.blocks = nn.ModuleList(blocks)
        self.norm_last = norm_last
        self.last = nn.Conv2d(dim, dim, 3, padding=1)

    def spatial_steps(self) -> list[Step]:
        """First convolution, blocks, last convolution."""
        steps = steps_of(self.first)
        for block in self.blocks:
            assert isinstance(block, EscBlock)
            steps += block.steps_with_kernel(self.kernel_side)
        return [*steps, *steps_of(self.last)]

    def forward(self, image: Tensor, backend: str) -> Tensor:
        """(B, 3, H, W) to (B, C, H, W)."""
        # Channels last: norms, 1x1 convolutions and the cutting of windows then move whole rows of channels.
        shallow = self.first(image.contiguous(memory_format=torch.channels_last))
        features, kernel = shallow, self.kernel()
        for block in self.blocks:
            features = block(features, kernel, backend)
        return self.last(self.norm_last(features)) + shallow


class EscNetwork(AttentionNetwork):
    """The encoder; a subclass makes the image from its features.

    Sides are padded to ``size_multiple`` = S inside the attention only. The official validation pads the
    image itself, which gives another result, since predicted kernels depend on all pixels: see
    :func:`srlab.ops.input_padding.pad_input`.

    Args:
        scale: 2, 3, 4 or any other integer.
        dim: feature channels C.
        mixed_dim: channels P that convolutional attention mixes.
        kernel_side: side K of the shared kernel, odd.
        depth: blocks.
        steps_per_block: steps of convolutional attention in each block.
        window_size: size S of the attention's windows in low-resolution pixels.
        num_heads: attention heads.
        ffn_ratio: channels inside the first feed-forward network of a block, in units of dim.
        step_ffn_ratio: channels inside the others, in units of dim.
        normed_steps: whether the steps begin with a norm.
        backend: see :class:`srlab.models.network.AttentionNetwork`.
        attention: further arguments of :attr:`attention_type`.
    """

    plain_backends = ("reference", "sdpa", "flex")
    operators = ("window_attention",)
    pads_image = False
    unexportable: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("onnx", "openvino"), _PREDICTED_KERNELS),
        "pt2 of any size": "its blocks pad their maps by amounts that depend on the image; give one --size",
    }
    block_names = r"encoder\.blocks\.\d+"
    #: The shared kernel, and the convolutional attention of one step.
    kernel_type: ClassVar[type[nn.Module]] = SymmetricKernel
    mixer_type: ClassVar[type[nn.Module]] = ConvolutionalAttention
    #: Least ``mixed_dim`` that leaves the mixer's predictor a channel.
    smallest_mixed_dim: ClassVar[int] = 2
    #: Self-attention at the start of each block.
    attention_type: ClassVar[type[WindowAttention | GatedWindowAttention]] = WindowAttention
    #: Norm before the last convolution.
    norm_last_type: ClassVar[type[nn.Module]] = nn.Identity

    def __init__(
        self,
        *,
        scale: int,
        dim: int,
        mixed_dim: int,
        kernel_side: int,
        depth: int,
        steps_per_block: int,
        window_size: int,
        num_heads: int,
        ffn_ratio: float,
        step_ffn_ratio: float,
        normed_steps: bool = True,
        backend: str = "auto",
        **attention: Any,
    ) -> None:
        super().__init__(scale=scale, backend=backend)
        self._check_kernel(dim, mixed_dim, kernel_side)
        require_counts(depth=depth, steps_per_block=steps_per_block, num_heads=num_heads)
        hidden_dim = require_channels("ffn_ratio", ffn_ratio, dim)
        step_hidden_dim = require_channels("step_ffn_ratio", step_ffn_ratio, dim)
        self.size_multiple = require_integer("window_size", window_size)

        def make_step() -> ConvolutionStep:
            mixer = self.mixer_type(dim=dim, mixed_dim=mixed_dim)
            return ConvolutionStep(dim=dim, hidden_dim=step_hidden_dim, mixer=mixer, normed=normed_steps)

        def make_block() -> EscBlock:
            windows = self.attention_type(dim=dim, num_heads=num_heads, window_size=window_size, **attention)
            steps = [make_step() for _ in range(steps_per_block)]
            return EscBlock(dim=dim, hidden_dim=hidden_dim, attention=windows, steps=steps)

        self.encoder = EscEncoder(
            dim=dim,
            kernel_side=kernel_side,
            kernel=self.kernel_type(dim=mixed_dim, side=kernel_side),
            blocks=(make_block() for _ in range(depth)),
            norm_last=self.norm_last_type(dim=dim),
        )

    def _check_kernel(self, dim: int, mixed_dim: int, kernel_side: int) -> None:
        """Whether a large kernel can be built on the first ``mixed_dim`` of ``dim`` channels."""
        require_counts(dim=dim, mixed_dim=mixed_dim, kernel_side=kernel_side)
        if not self.smallest_mixed_dim <= mixed_dim <= dim:
            raise ValueError(f"mixed_dim={mixed_dim} must be between {self.smallest_mixed_dim} and dim={dim}")
        if kernel_side % 2 == 0 or kernel_side < PREDICTED_SIDE:
            raise ValueError(
                f"kernel_side must be odd and at least {PREDICTED_SIDE}, got {kernel_side}; "
                f"try {max(PREDICTED_SIDE, kernel_side + 1 - kernel_side % 2)}"
            )
