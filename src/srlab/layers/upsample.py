"""Heads that make the high-resolution image from low-resolution features."""

import torch.nn.functional as F
from torch import Tensor, nn

_HEAD_CHANNELS = 64


def pixel_shuffle_stages(*, scale: int, channels: int) -> nn.Sequential:
    """(B, C, H, W) to (B, C, sH, sW): convolution and pixel shuffle, once by 3 or several times by 2."""
    factors = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
    if scale != 3 and 2 ** len(factors) != scale:
        raise ValueError(f"pixel shuffle stages exist for scale 3 and powers of two, got scale={scale}")
    stages: list[nn.Module] = []
    for factor in factors:
        stages += [nn.Conv2d(channels, factor**2 * channels, 3, padding=1), nn.PixelShuffle(factor)]
    return nn.Sequential(*stages)


class DirectHead(nn.Module):
    """One convolution and a pixel shuffle: the light head."""

    def __init__(self, *, dim: int, scale: int) -> None:
        super().__init__()
        self.upsample = nn.Sequential(nn.Conv2d(dim, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 3, scale * H, scale * W)."""
        return self.upsample(features)


class ShuffleHead(nn.Module):
    """64 channels, pixel shuffles by 2 or 3, a last convolution: the classical head."""

    def __init__(self, *, dim: int, scale: int) -> None:
        super().__init__()
        self.widen = nn.Conv2d(dim, _HEAD_CHANNELS, 3, padding=1)
        self.upsample = pixel_shuffle_stages(scale=scale, channels=_HEAD_CHANNELS)
        self.last = nn.Conv2d(_HEAD_CHANNELS, 3, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 3, scale * H, scale * W)."""
        return self.last(self.upsample(F.leaky_relu(self.widen(features), 0.01)))


class NearestStages(nn.Module):
    """Nearest-neighbour upsampling by 2 and a convolution, once or twice, then two convolutions."""

    def __init__(self, *, dim: int, scale: int) -> None:
        super().__init__()
        if scale not in (2, 4):
            raise ValueError(f"the nearest+conv head upsamples by 2 or 4, got scale={scale}")
        self.stages = nn.ModuleList(nn.Conv2d(dim, dim, 3, padding=1) for _ in range(scale // 2))
        self.refine = nn.Conv2d(dim, dim, 3, padding=1)
        self.last = nn.Conv2d(dim, 3, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 3, scale * H, scale * W)."""
        for stage in self.stages:
            features = F.leaky_relu(stage(F.interpolate(features, scale_factor=2, mode="nearest")), 0.2)
        return self.last(F.leaky_relu(self.refine(features), 0.2))


class NearestHead(NearestStages):
    """64 channels, then :class:`NearestStages`: for real photos."""

    def __init__(self, *, dim: int, scale: int) -> None:
        widen = nn.Conv2d(dim, _HEAD_CHANNELS, 3, padding=1)  # draws its weights before the stages do
        super().__init__(dim=_HEAD_CHANNELS, scale=scale)
        self.widen = widen

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 3, scale * H, scale * W)."""
        return super().forward(F.leaky_relu(self.widen(features), 0.01))


#: SwinIR's ways to make the image: one convolution (light), stages (classical), nearest (real photos).
HEADS = {"pixelshuffledirect": DirectHead, "pixelshuffle": ShuffleHead, "nearest+conv": NearestHead}


def build_head(kind: str, *, dim: int, scale: int) -> nn.Module:
    """The up-sampling head called ``kind``."""
    if kind not in HEADS:
        raise ValueError(f"unknown head {kind!r}; choose one of {', '.join(HEADS)}")
    return HEADS[kind](dim=dim, scale=scale)
