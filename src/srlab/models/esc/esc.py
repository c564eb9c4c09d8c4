"""ESC: self-attention only at the start of each block, emulated by convolutional attention elsewhere.

Paper:      Lee et al., "Emulating Self-attention with Convolution for Efficient Image Super-Resolution",
            ICCV 2025, arXiv 2503.06671
Reference:  github.com/dslisleedh/ESC at e7e6938c
Deviations: those of the encoder.

Shape legend: B batch, C features, H/W low-resolution size, r scale.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from srlab.models.esc.blocks import ConvolutionalAttention, SymmetricKernel
from srlab.models.esc.encoder import EscEncoder, EscNetwork, check_mixed

__all__ = ["ESC"]


class ESC(EscNetwork):
    """Super-resolver of ESC, ESC-light and ESC-XL.

    Args:
        scale: 2, 3, 4 or any other integer.
        dim: feature channels C.
        mixed_dim: how many of the channels convolutional attention mixes.
        kernel_side: side of the shared kernel, odd.
        depth: blocks.
        steps_per_block: steps of convolutional attention in each block.
        window_side: side of the attention's windows in low-resolution pixels.
        num_heads: attention heads.
        ffn_ratio: channels inside the first feed-forward network of a block, in units of dim.
        step_ffn_ratio: channels inside the others, in units of dim.
        normed_steps: whether the steps begin with a norm.
        backend: see :class:`srlab.models.network.AttentionNetwork`.
    """

    official_landmarks = ("blocks.0.convffns.0.proj.weight", "plk_filter", "to_img.weight")

    def __init__(
        self,
        *,
        scale: int,
        dim: int,
        mixed_dim: int,
        kernel_side: int,
        depth: int,
        steps_per_block: int,
        window_side: int,
        num_heads: int,
        ffn_ratio: float,
        step_ffn_ratio: float,
        normed_steps: bool,
        backend: str = "auto",
    ) -> None:
        check_mixed(dim=dim, mixed_dim=mixed_dim, kernel_side=kernel_side, smallest=2)
        encoder = EscEncoder(
            dim=dim,
            depth=depth,
            steps_per_block=steps_per_block,
            window_side=window_side,
            num_heads=num_heads,
            ffn_ratio=ffn_ratio,
            step_ffn_ratio=step_ffn_ratio,
            normed_steps=normed_steps,
            kernel=SymmetricKernel(dim=mixed_dim, side=kernel_side),
            make_mixer=lambda: ConvolutionalAttention(dim=dim, mixed_dim=mixed_dim),
            norm_last=nn.Identity(),
        )
        super().__init__(scale=scale, encoder=encoder, window_side=window_side, backend=backend)
        self.to_image = nn.Conv2d(dim, 3 * scale**2, 3, padding=1)

    def restore(self, lr_image: Tensor) -> Tensor:
        """All sub-pixels at once; the image is added as nearest-neighbour enlargement has it."""
        features = self.encoder(lr_image, self.backend_for(lr_image))
        subpixels = self.to_image(features) + lr_image.repeat_interleave(self.scale**2, dim=1)
        return F.pixel_shuffle(subpixels, self.scale)

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Everything can be read."""
        if any(key not in state for key in cls.official_landmarks):
            return None
        return {
            "scale": math.isqrt(state["to_img.weight"].shape[0] // 3),
            "normed_steps": "blocks.0.lns.0.weight" in state,
            **cls.recognise_encoder(state, kernel="plk_filter"),
        }
