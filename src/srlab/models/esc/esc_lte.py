"""ESC-LTE: ESC's features and a local texture estimator, which upsamples by any factor.

Paper:      Lee et al., "Emulating Self-attention with Convolution for Efficient Image Super-Resolution",
            ICCV 2025, arXiv 2503.06671; Lee and Jin, "Local Texture Estimator for Implicit Representation
            Function", CVPR 2022, arXiv 2111.08918
Reference:  github.com/dslisleedh/ESC at e7e6938c
Deviations: those of the encoder. Neighbours of a query are found in integers, where the official code adds
            1e-6 to coordinates; pixels with a common row or column share their coordinates.

Shape legend: B batch, C features, Q channels of a query, H/W low-resolution size, h/w size of the result.
"""

from itertools import product
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srlab.layers.arguments import require_integer
from srlab.layers.spatial_steps import steps_of
from srlab.models.esc.encoder import EscNetwork
from srlab.models.network import require_image
from srlab.ops.reach import Interpolation, Step

# The official training draws scales up to this.
_LARGEST_TRAINED_SCALE = 4

# Where both neighbours of a query are the same pixel, at its centre, all areas would be 0.
_SMALLEST_AREA = 1e-9

# Pixels of the result that are computed at a time without gradients: 16 MiB for each tensor of 256 channels.
_QUERIES_AT_A_TIME = 2**14

_HIDDEN_LAYERS = 3


class Neighbours(NamedTuple):
    """For each of the n positions on an axis of the result: the features before and after it."""

    #: (2, n) which features; at the border both are the same.
    feature: Tensor
    #: (2, n) how far the position is behind them; 2 is the distance between features.
    distance: Tensor


def _neighbours(features: int, positions: int, dtype: torch.dtype, device: torch.device) -> Neighbours:
    """Neighbours of the centres of ``positions`` pixels on an axis of ``features`` pixels."""
    # In units of 1 / (2 * positions) of a feature's side; integers, so that no rounding moves a neighbour.
    centre = (2 * torch.arange(positions, device=device) + 1) * features - positions
    before = torch.div(centre, 2 * positions, rounding_mode="floor")
    index = torch.stack((before, before + 1)).clamp(0, features - 1)
    return Neighbours(index, (centre - 2 * positions * index).to(dtype) / positions)


class TextureEstimator(nn.Module):
    """Colours anywhere between features: local waves with amplitudes and frequencies from the features.

    Args:
        dim: channels C of the features.
        query_dim: channels Q, even: half for cosines, half for sines.
    """

    def __init__(self, *, dim: int, query_dim: int) -> None:
        super().__init__()
        self.amplitude = nn.Conv2d(dim, query_dim, 3, padding=1)
        self.frequency = nn.Conv2d(dim, query_dim, 3, padding=1)
        self.phase = nn.Linear(2, query_dim // 2, bias=False)
        layers: list[nn.Module] = []
        for _ in range(_HIDDEN_LAYERS):
            layers += [nn.Linear(query_dim, query_dim), nn.ReLU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(query_dim, 3))

    def forward(self, features: Tensor, size: tuple[int, int], pixel_size: tuple[float, float]) -> Tensor:
        """Colours at the centres of the pixels of an image that covers the same area.

        Args:
            features: (B, C, H, W).
            size: (h, w) of the image, each at least 1.
            pixel_size: height and width of its pixels, where those of the features have 2.

        Returns:
            (B, 3, h, w), in float32 at least.
        """
        phase = self.phase(torch.stack([features.new_full((), side) for side in pixel_size]))
        amplitude = self.amplitude(features).permute(0, 2, 3, 1)
        frequency = self.frequency(features).permute(0, 2, 3, 1)
        # In half precision, waves would come out wrong by several per cent.
        dtype = torch.promote_types(features.dtype, torch.float32)
        rows, columns = (
            _neighbours(features.shape[2 + axis], size[axis], dtype, features.device) for axis in (0, 1)
        )
        # Training keeps everything for its gradients: parts would save nothing.
        at_a_time = size[0] if torch.is_grad_enabled() else _QUERIES_AT_A_TIME // (len(features) * size[1])
        parts = [
            self._estimate(amplitude, frequency, phase, Neighbours(feature, distance), columns)
            for feature, distance in zip(
                *(tensor.split(max(1, at_a_time), dim=1) for tensor in rows), strict=True
            )
        ]
        return torch.cat(parts, dim=1).permute(0, 3, 1, 2)

    def _estimate(
        self, amplitude: Tensor, frequency: Tensor, phase: Tensor, rows: Neighbours, columns: Neighbours
    ) -> Tensor:
        """(B, h, w, 3): the mean of the four neighbours' colours, weighted by proximity."""
        total = weights = 0.0
        for i, j in product((0, 1), repeat=2):
            y, x = rows.distance[i][:, None, None], columns.distance[j][:, None]
            vertical, horizontal = (
                _pick(frequency, rows.feature[i], columns.feature[j]).unflatten(-1, (-1, 2)).unbind(-1)
            )
            wave = torch.pi * (vertical * y + horizontal * x + phase)
            waves = torch.cat((wave.cos(), wave.sin()), dim=-1).to(amplitude.dtype)
            colours = self.mlp(_pick(amplitude, rows.feature[i], columns.feature[j]) * waves)
            # The area of the rectangle between the query and the opposite neighbour.
            opposite = rows.distance[1 - i][:, None, None] * columns.distance[1 - j][:, None]
            weight = opposite.abs() + _SMALLEST_AREA
            total, weights = total + colours * weight, weights + weight
        assert isinstance(total, Tensor)
        return total / weights


def _pick(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B, H, W, Q) at all pairs of the given rows and columns."""
    return maps.index_select(1, rows).index_select(2, columns)


class EscLTE(EscNetwork):
    """Super-resolver of any scale: :meth:`upsample` makes an image of any size, one network for all.

    Args:
        scale: the scale of ``forward``; any integer.
        dim: feature channels C.
        query_dim: channels Q of the texture estimator, even.
        normed_steps: whether the steps begin with a norm.
        encoder: further arguments of :class:`EscNetwork`.
    """

    def __init__(
        self, *, scale: int, dim: int, query_dim: int, normed_steps: bool = False, **encoder: Any
    ) -> None:
        super().__init__(scale=scale, dim=dim, normed_steps=normed_steps, **encoder)
        if require_integer("query_dim", query_dim, minimum=2) % 2:
            raise ValueError(
                f"query_dim={query_dim} must be even: half cosines, half sines; use {query_dim + 1}"
            )
        self.estimator = TextureEstimator(dim=dim, query_dim=query_dim)

    def spatial_steps(self) -> list[Step]:
        """Encoder, a convolution, and colours from two features on each axis."""
        return [*steps_of(self.encoder, self.estimator.amplitude), Interpolation(self.scale, taps=2)]

    def restore(self, lr_image: Tensor) -> Tensor:
        """All pixels of a result ``scale`` times as large."""
        height, width = lr_image.shape[-2:]
        return self._upsample(lr_image, (height * self.scale, width * self.scale))

    def upsample(self, lr_image: Tensor, size: tuple[int, int]) -> Tensor:
        """Restore an image of any size; its sides may have different scales, also below 1.

        Without gradients, pixels are computed in parts of bounded size, a row or more at a time.

        Args:
            lr_image: (B, 3, H, W) in [0, 1].
            size: (h, w) of the result, each at least 1.

        Returns:
            (B, 3, h, w), not clamped; it covers the same area.

        Raises:
            ValueError: ``size`` is not a pair of positive integers, or ``lr_image`` not an RGB image.
        """
        if len(size) != 2:
            raise ValueError(f"size must be (height, width), got {size}")
        height, width = (require_integer(f"each side of size={tuple(size)}", side) for side in size)
        require_image(lr_image)
        return self._upsample(lr_image, (height, width))

    def _upsample(self, lr_image: Tensor, size: tuple[int, int]) -> Tensor:
        image = 2.0 * lr_image - 1.0
        sides = lr_image.shape[-2:]
        scales = [size[axis] / sides[axis] for axis in (0, 1)]
        # Beyond the scales of the training, a pixel is described as one of its largest scale.
        clip = max(1.0, max(scales) / _LARGEST_TRAINED_SCALE)
        features = self.encoder(image, self.backend_for(lr_image))
        details = self.estimator(features, size, (2 * clip / scales[0], 2 * clip / scales[1]))
        upsampled = F.interpolate(image, size, mode="bilinear", align_corners=False)
        return (details.to(image.dtype) + upsampled + 1.0) / 2.0
