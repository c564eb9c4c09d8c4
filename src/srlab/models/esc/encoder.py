"""What ESC's networks have in common: low-resolution features, official keys, and the change of scale.

Paper:      Lee et al., "Emulating Self-attention with Convolution for Efficient Image Super-Resolution",
            ICCV 2025, arXiv 2503.06671
Reference:  github.com/dslisleedh/ESC at e7e6938c
Deviations: evaluation takes batches of any size, and is the function that training is; images may be smaller
            than the padding of their windows; the shared kernel is averaged once for all blocks; tables of
            relative positions are turned round: the query's position minus the key's, as in Swin.

Shape legend: B batch, C features, H/W low-resolution size, S window side.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srlab.models.esc.blocks import (
    PREDICTED_SIDE,
    ConvolutionStep,
    EscBlock,
    WindowAttention,
)
from srlab.models.network import AttentionNetwork, count_numbered, rename_keys, require_integer

__all__ = ["EscEncoder", "EscNetwork", "check_mixed", "resize_subpixels"]

_TO_OURS = (
    (r"^plk_filter$", "encoder.kernel.weight"),
    (r"^lk_(channel|spatial)$", r"encoder.kernel.\1"),
    (r"^proj\.", "encoder.first."),
    (r"^ln_last\.", "encoder.norm_last."),
    (r"^last\.", "encoder.last."),
    (r"^blocks\.", "encoder.blocks."),
    (r"\.ln_proj\.", ".norm_in."),
    (r"\.ln_attn\.", ".norm_attention."),
    (r"\.ln_out\.", ".norm_out."),
    (r"\.lns\.(\d+)\.", r".steps.\1.norm."),
    (r"\.pconvs\.(\d+)\.plk\.(dwc_)?proj\.1\.", r".steps.\1.mixer.predictor.squeeze."),
    (r"\.pconvs\.(\d+)\.plk\.(dwc_)?proj\.3\.", r".steps.\1.mixer.predictor.predict."),
    (r"\.pconvs\.(\d+)\.aggr\.", r".steps.\1.mixer.mix."),
    (r"\.convffns\.(\d+)\.", r".steps.\1.feed_forward."),
    (r"(blocks\.\d+)\.proj\.", r"\1.feed_forward."),
    (r"\.feed_forward\.proj\.", ".feed_forward.expand."),
    (r"\.feed_forward\.dwc\.", ".feed_forward.local."),
    (r"\.feed_forward\.aggr\.", ".feed_forward.contract."),
    (r"\.attn\.relative_position_bias$", ".attention.position_bias.table"),
    (r"\.attn\.to_(qkv|out)\.", r".attention.\1."),
    (r"^to_img\.", "to_image."),
)
_TO_OFFICIAL = (
    (r"^to_image\.", "to_img."),
    (r"\.attention\.(qkv|out)\.", r".attn.to_\1."),
    (r"\.attention\.position_bias\.table$", ".attn.relative_position_bias"),
    (r"\.feed_forward\.contract\.", ".feed_forward.aggr."),
    (r"\.feed_forward\.local\.", ".feed_forward.dwc."),
    (r"\.feed_forward\.expand\.", ".feed_forward.proj."),
    (r"(blocks\.\d+)\.feed_forward\.", r"\1.proj."),
    (r"\.steps\.(\d+)\.feed_forward\.", r".convffns.\1."),
    (r"\.steps\.(\d+)\.mixer\.predictor\.squeeze\.", r".pconvs.\1.plk.dwc_proj.1."),
    (r"\.steps\.(\d+)\.mixer\.predictor\.predict\.", r".pconvs.\1.plk.dwc_proj.3."),
    (r"\.steps\.(\d+)\.mixer\.mix\.", r".pconvs.\1.aggr."),
    (r"\.steps\.(\d+)\.norm\.", r".lns.\1."),
    (r"\.norm_out\.", ".ln_out."),
    (r"\.norm_attention\.", ".ln_attn."),
    (r"\.norm_in\.", ".ln_proj."),
    (r"^encoder\.blocks\.", "blocks."),
    (r"^encoder\.last\.", "last."),
    (r"^encoder\.norm_last\.", "ln_last."),
    (r"^encoder\.first\.", "proj."),
    (r"^encoder\.kernel\.(channel|spatial)$", r"lk_\1"),
    (r"^encoder\.kernel\.weight$", "plk_filter"),
)

_TABLES = ".attention.position_bias.table"
_OFFICIAL_TABLES = ".attn.relative_position_bias"
_OFFICIAL_ENCODER = ("plk_filter", "lk_", "proj.", "blocks.", "ln_last.", "last.")


class EscEncoder(nn.Module):
    """Image to features: convolution, blocks, convolution, and the output of the first added.

    Args:
        dim: feature channels C.
        depth: blocks.
        steps_per_block: steps of convolutional attention in each block.
        window_side: side S of the attention's windows.
        num_heads: attention heads.
        ffn_ratio: channels inside the first feed-forward network of a block, in units of dim.
        step_ffn_ratio: channels inside the others.
        normed_steps: whether the steps begin with a norm.
        kernel: makes what all steps share, anew at every forward.
        make_mixer: makes the convolutional attention of one step.
        norm_last: applied before the last convolution.
    """

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        steps_per_block: int,
        window_side: int,
        num_heads: int,
        ffn_ratio: float,
        step_ffn_ratio: float,
        normed_steps: bool,
        kernel: nn.Module,
        make_mixer: Callable[[], nn.Module],
        norm_last: nn.Module,
    ) -> None:
        super().__init__()
        counts = {"depth": depth, "window_side": window_side, "num_heads": num_heads}
        for name, value in {**counts, "steps_per_block": steps_per_block}.items():
            require_integer(name, value)
        hidden_dims = [
            _hidden_dim(dim, ratio, name)
            for name, ratio in (("ffn_ratio", ffn_ratio), ("step_ffn_ratio", step_ffn_ratio))
        ]

        def make_block() -> EscBlock:
            attention = WindowAttention(dim=dim, num_heads=num_heads, window_side=window_side)
            steps = [
                ConvolutionStep(dim=dim, hidden_dim=hidden_dims[1], mixer=make_mixer(), normed=normed_steps)
                for _ in range(steps_per_block)
            ]
            return EscBlock(dim=dim, hidden_dim=hidden_dims[0], attention=attention, steps=steps)

        self.kernel = kernel
        self.first = nn.Conv2d(3, dim, 3, padding=1)
        self.blocks = nn.ModuleList(make_block() for _ in range(depth))
        self.norm_last = norm_last
        self.last = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, image: Tensor, backend: str) -> Tensor:
        """(B, 3, H, W) to (B, C, H, W)."""
        # Channels last: norms, 1x1 convolutions and the cutting of windows then move whole rows of channels.
        shallow = self.first(image.contiguous(memory_format=torch.channels_last))
        features, kernel = shallow, self.kernel()
        for block in self.blocks:
            features = block(features, kernel, backend)
        return self.last(self.norm_last(features)) + shallow


class EscNetwork(AttentionNetwork):
    """A network around an :class:`EscEncoder`, which lies at ``encoder``.

    Inside the attention alone, sides are padded to ``size_multiple`` = S. The official validation pads the
    image itself, which gives another result, since predicted kernels depend on all that is seen: see
    :func:`srlab.ops.input_padding.pad_input`.
    """

    plain_backends = ("reference", "sdpa", "flex")
    operators = ("window_attention",)
    pads_image = False
    block_names = r"encoder\.blocks\.\d+"
    official_containers = ("params", "params_ema")
    encoder: EscEncoder
    #: What stands before the encoder's keys in official files.
    encoder_prefix: ClassVar[str] = ""
    #: Rules for official keys outside the encoder, applied before its rules.
    own_to_ours: ClassVar[tuple[tuple[str, str], ...]] = ()
    #: Rules back, applied after the encoder's rules.
    own_to_official: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __init__(self, *, scale: int, encoder: EscEncoder, window_side: int, backend: str) -> None:
        super().__init__(scale=scale, backend=backend)
        self.size_multiple = window_side
        self.encoder = encoder

    @classmethod
    def recognise_encoder(cls, state: Mapping[str, Tensor], *, kernel: str) -> dict[str, Any]:
        """Constructor arguments that all networks have, from an official state dict.

        Args:
            state: the official state dict.
            kernel: key of the shared kernel, (P, ..., K, K).
        """
        blocks = f"{cls.encoder_prefix}blocks."
        first = f"{blocks}0"
        heads, rows = state[f"{first}.attn.relative_position_bias"].shape
        dim = state[f"{cls.encoder_prefix}proj.weight"].shape[0]
        return {
            "mixed_dim": state[kernel].shape[0],
            "kernel_side": state[kernel].shape[-1],
            "dim": dim,
            "depth": count_numbered(state, blocks),
            "steps_per_block": count_numbered(state, f"{first}.convffns."),
            "window_side": (math.isqrt(rows) + 1) // 2,
            "num_heads": heads,
            "ffn_ratio": _ratio(dim, state[f"{first}.proj.proj.weight"].shape[0]),
            "step_ffn_ratio": _ratio(dim, state[f"{first}.convffns.0.proj.weight"].shape[0]),
            "backend": "auto",
        }

    @classmethod
    def from_official(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename keys, and turn the tables round."""
        bare = {key.removeprefix(cls.encoder_prefix): value for key, value in state.items()}
        renamed = rename_keys(bare, (*cls.own_to_ours, *_TO_OURS))
        return {key: value.T.flip(0) if key.endswith(_TABLES) else value for key, value in renamed.items()}

    def to_official(self) -> dict[str, Tensor]:
        """Rename keys, and turn the tables round."""
        official = {}
        for key, value in rename_keys(self.state_dict(), _TO_OFFICIAL).items():
            in_encoder = key.startswith(_OFFICIAL_ENCODER)
            turned = value.flip(0).T.contiguous() if key.endswith(_OFFICIAL_TABLES) else value
            official[f"{self.encoder_prefix}{key}" if in_encoder else key] = turned
        return rename_keys(official, self.own_to_official)

    @classmethod
    def at_scale(cls, state: Mapping[str, Tensor], scale: int) -> dict[str, Tensor]:
        """Our state dict of a network for ``scale`` from that of one for any other scale.

        Only the last convolution depends on the scale; its sub-pixels are resized as the official code does.
        """
        return {
            key: resize_subpixels(value, scale) if key.startswith("to_image.") else value
            for key, value in state.items()
        }


def resize_subpixels(parameter: Tensor, scale: int) -> Tensor:
    """Weight or bias of a convolution before a pixel shuffle, resized to another scale.

    The sub-pixels of each colour, input channel and tap form a grid; it is interpolated bilinearly.

    Args:
        parameter: (3 * s * s, ...) for any scale s.
        scale: the new scale t.

    Returns:
        (3 * t * t, ...).
    """
    old, rest = math.isqrt(len(parameter) // 3), parameter.shape[1:]
    if len(parameter) != 3 * old**2:
        raise ValueError(
            f"expected 3 * scale * scale rows before a pixel shuffle, got {len(parameter)} rows; "
            "only the convolution that makes the image has them"
        )
    grids = parameter.reshape(3, old, old, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(grids, (scale, scale), mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1).reshape(3 * scale**2, *rest)


def _ratio(dim: int, hidden_dim: int) -> float:
    """A ratio that :func:`_hidden_dim` turns into ``hidden_dim``."""
    ratio = hidden_dim / dim
    return ratio if int(dim * ratio) == hidden_dim else (hidden_dim + 0.5) / dim


def _hidden_dim(dim: int, ratio: float, name: str) -> int:
    """``ratio`` times ``dim``, cut off to an integer."""
    hidden_dim = int(dim * ratio)
    if hidden_dim < 1:
        raise ValueError(f"{name}={ratio} leaves no channel of dim={dim}; use at least {1 / dim:.3g}")
    return hidden_dim


def check_mixed(*, dim: int, mixed_dim: int, kernel_side: int, smallest: int) -> None:
    """Refuse a large kernel that cannot be built on the first ``mixed_dim`` of ``dim`` channels."""
    for name, value in (("dim", dim), ("mixed_dim", mixed_dim), ("kernel_side", kernel_side)):
        require_integer(name, value)
    if not smallest <= mixed_dim <= dim:
        raise ValueError(f"mixed_dim={mixed_dim} must lie between {smallest} and dim={dim}")
    if kernel_side % 2 == 0 or kernel_side < PREDICTED_SIDE:
        raise ValueError(
            f"kernel_side must be odd and at least {PREDICTED_SIDE}, got {kernel_side}; "
            f"try {max(PREDICTED_SIDE, kernel_side + 1 - kernel_side % 2)}"
        )
