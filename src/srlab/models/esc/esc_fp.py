"""ESC-FP: ESC with fewer parameters, its large kernel split into a channel and a spatial part.

Paper:      Lee et al., "Emulating Self-attention with Convolution for Efficient Image Super-Resolution",
            ICCV 2025, arXiv 2503.06671
Reference:  github.com/dslisleedh/ESC at e7e6938c
Deviations: those of the encoder.

Shape legend: B batch, C features, P channels that convolutional attention mixes (the first P of C), H/W
low-resolution size, K side of the large kernel, r scale.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srlab.models.esc.blocks import PREDICTED_SIDE, ChannelNorm, KernelPredictor, convolve_each
from srlab.models.esc.encoder import EscEncoder, EscNetwork, check_mixed

__all__ = ["EscFP", "FactorizedAttention", "FactorizedKernel"]


class FactorizedKernel(nn.Module):
    """What all steps share: a mixture of channels, then a large depth-wise kernel.

    Args:
        dim: channels P.
        side: side K, odd.
    """

    def __init__(self, *, dim: int, side: int) -> None:
        super().__init__()
        self.channel = nn.Parameter(torch.randn(dim, dim, 1, 1))
        self.spatial = nn.Parameter(torch.empty(dim, 1, side, side))
        nn.init.orthogonal_(self.spatial)

    def forward(self) -> tuple[Tensor, Tensor]:
        """(P, P, 1, 1) and (P, 1, K, K)."""
        return self.channel, self.spatial


class FactorizedAttention(nn.Module):
    """The first P channels are mixed, then convolved with the shared kernel plus one predicted for the image.

    Args:
        dim: channels C.
        mixed_dim: channels P.
    """

    def __init__(self, *, dim: int, mixed_dim: int) -> None:
        super().__init__()
        self.mixed_dim = mixed_dim
        self.predictor = KernelPredictor(dim=mixed_dim, hidden_dim=mixed_dim // 4)
        self.mix = nn.Conv2d(dim, dim, 1)

    def forward(self, features: Tensor, kernel: tuple[Tensor, Tensor]) -> Tensor:
        """(B, C, H, W) and the two parts of the shared kernel to (B, C, H, W)."""
        channel, spatial = kernel
        near, rest = features.tensor_split((self.mixed_dim,), dim=1)
        margin = (spatial.shape[-1] - PREDICTED_SIDE) // 2
        kernels = F.pad(self.predictor(near), (margin,) * 4) + spatial[:, 0]
        mixed = convolve_each(F.conv2d(near, channel), kernels)
        return self.mix(torch.cat((mixed, rest), dim=1))


class EscFP(EscNetwork):
    """Super-resolver of ESC-FP.

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
        backend: see :class:`srlab.models.network.AttentionNetwork`.
    """

    own_to_official = ((r"\.plk\.dwc_proj\.", ".plk.proj."),)
    official_landmarks = ("blocks.0.convffns.0.proj.weight", "lk_channel", "lk_spatial", "to_img.weight")

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
        backend: str = "auto",
    ) -> None:
        check_mixed(dim=dim, mixed_dim=mixed_dim, kernel_side=kernel_side, smallest=4)
        encoder = EscEncoder(
            dim=dim,
            depth=depth,
            steps_per_block=steps_per_block,
            window_side=window_side,
            num_heads=num_heads,
            ffn_ratio=ffn_ratio,
            step_ffn_ratio=step_ffn_ratio,
            normed_steps=True,
            kernel=FactorizedKernel(dim=mixed_dim, side=kernel_side),
            make_mixer=lambda: FactorizedAttention(dim=dim, mixed_dim=mixed_dim),
            norm_last=ChannelNorm(dim=dim),
        )
        super().__init__(scale=scale, encoder=encoder, window_side=window_side, backend=backend)
        self.to_image = nn.Conv2d(dim, 3 * scale**2, 3, padding=1)

    def restore(self, lr_image: Tensor) -> Tensor:
        """All sub-pixels at once, and the image as PyTorch's bicubic interpolation enlarges it."""
        size = [self.scale * side for side in lr_image.shape[-2:]]
        features = self.encoder(lr_image, self.backend_for(lr_image))
        enlarged = F.interpolate(lr_image, size, mode="bicubic", align_corners=False)
        return F.pixel_shuffle(self.to_image(features), self.scale) + enlarged

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Everything can be read."""
        if any(key not in state for key in cls.official_landmarks):
            return None
        return {
            "scale": math.isqrt(state["to_img.weight"].shape[0] // 3),
            **cls.recognise_encoder(state, kernel="lk_spatial"),
        }
