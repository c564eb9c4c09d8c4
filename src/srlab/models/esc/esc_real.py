"""ESC-Real: ESC for degraded photographs, which enlarges its features instead of adding to the image.

Paper:      Lee et al., "Emulating Self-attention with Convolution for Efficient Image Super-Resolution",
            ICCV 2025, arXiv 2503.06671
Reference:  github.com/dslisleedh/ESC at e7e6938c
Deviations: those of the encoder.

Shape legend: B batch, C features, H/W low-resolution size.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srlab.layers.upsample import NearestStages
from srlab.models.esc.blocks import ConvolutionalAttention, SymmetricKernel
from srlab.models.esc.encoder import EscEncoder, EscNetwork, check_mixed
from srlab.ops.padding import reflected_positions

__all__ = ["EscReal", "ImageSkip"]

_SLOPE = 0.2

_TO_OURS = (
    (r"^to_img\.1\.", "head.stages.0."),
    (r"^to_img\.4\.", "head.stages.1."),
    (r"^to_img\.6\.", "head.refine."),
    (r"^to_img\.8\.", "head.last."),
    (r"^skip\.0\.", "skip.expand."),
    (r"^skip\.1\.", "skip.local."),
    (r"^skip\.3\.", "skip.contract."),
)
_TO_OFFICIAL = (
    (r"^head\.stages\.0\.", "to_img.1."),
    (r"^head\.stages\.1\.", "to_img.4."),
    (r"^head\.refine\.", "to_img.6."),
    (r"^head\.last\.", "to_img.8."),
    (r"^skip\.expand\.", "skip.0."),
    (r"^skip\.local\.", "skip.1."),
    (r"^skip\.contract\.", "skip.3."),
)


class ImageSkip(nn.Module):
    """The image as features, by its 7x7 neighbourhood.

    Args:
        dim: channels C.
    """

    def __init__(self, *, dim: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, 2 * dim, 1)
        self.local = nn.Conv2d(2 * dim, 2 * dim, 7, groups=2 * dim)
        self.contract = nn.Conv2d(2 * dim, dim, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, C, H, W); reflected at the borders, repeatedly where the image is small."""
        padded = _reflect(self.expand(image), self.local.kernel_size[0] // 2)
        return self.contract(F.leaky_relu(self.local(padded), _SLOPE))


class EscReal(EscNetwork):
    """Super-resolver of ESC-Real.

    Args:
        scale: 4.
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

    published_scales = (4,)
    own_to_ours = _TO_OURS
    own_to_official = _TO_OFFICIAL
    official_landmarks = (
        "blocks.0.convffns.0.proj.weight",
        "plk_filter",
        "to_img.8.weight",
        "skip.0.weight",
    )

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
        _check_scale(scale)
        check_mixed(dim=dim, mixed_dim=mixed_dim, kernel_side=kernel_side, smallest=2)
        encoder = EscEncoder(
            dim=dim,
            depth=depth,
            steps_per_block=steps_per_block,
            window_side=window_side,
            num_heads=num_heads,
            ffn_ratio=ffn_ratio,
            step_ffn_ratio=step_ffn_ratio,
            normed_steps=True,
            kernel=SymmetricKernel(dim=mixed_dim, side=kernel_side),
            make_mixer=lambda: ConvolutionalAttention(dim=dim, mixed_dim=mixed_dim),
            norm_last=nn.Identity(),
        )
        super().__init__(scale=scale, encoder=encoder, window_side=window_side, backend=backend)
        self.skip = ImageSkip(dim=dim)
        self.head = NearestStages(dim=dim, scale=scale)

    def restore(self, lr_image: Tensor) -> Tensor:
        """Features of the image and of its blocks, enlarged."""
        features = self.encoder(lr_image, self.backend_for(lr_image))
        return self.head(features + self.skip(lr_image))

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Everything can be read."""
        if any(key not in state for key in cls.official_landmarks):
            return None
        return {
            "scale": 4,
            **cls.recognise_encoder(state, kernel="plk_filter"),
        }

    @classmethod
    def at_scale(cls, state: Mapping[str, Tensor], scale: int) -> dict[str, Tensor]:
        """The state dict itself: there is no other scale than 4."""
        _check_scale(scale)
        return dict(state)


def _check_scale(scale: int) -> None:
    if scale != 4:
        raise ValueError(f"ESC-Real enlarges by 4 only, got scale={scale!r}; use scale=4, or ESC for another")


def _reflect(features: Tensor, margin: int) -> Tensor:
    """Pad (B, C, H, W) by ``margin`` on all sides by reflection, as often as it takes."""
    height, width = features.shape[-2:]
    if margin < min(height, width):
        return F.pad(features, (margin,) * 4, mode="reflect")
    rows, columns = (_positions(side, margin, features.device) for side in (height, width))
    return features.index_select(-2, rows).index_select(-1, columns)


def _positions(side: int, margin: int, device: torch.device) -> Tensor:
    """Which of ``side`` pixels each position of the padded axis shows."""
    before = reflected_positions(side, margin + 1)[:0:-1]
    return torch.tensor([*before, *reflected_positions(side, side + margin)], device=device)
