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
from torch import Tensor, nn

from srlab.layers.arguments import require_integer
from srlab.layers.spatial_steps import steps_of
from srlab.models.any_scale import AnyScale, checked_size
from srlab.models.esc.encoder import EscNetwork
from srlab.ops.axis import Axis
from srlab.ops.reach import Interpolation, Step

# The official training draws scales up to this.
_LARGEST_TRAINED_SCALE = 4.0

# Where both neighbours of a query are the same pixel, at its centre, all areas would be 0.
_SMALLEST_AREA = 1e-9

# Pixels of the result that are computed at a time without gradients: 16 MiB for each tensor of 256 channels.
_QUERIES_AT_A_TIME = 2**14

_HIDDEN_LAYERS = 3


class Neighbours(NamedTuple):
    """For positions on an axis of the result: the features before and after each."""

    #: (2, ...) which features; at the border both are the same.
    feature: Tensor
    #: (2, ...) how far the position is behind them; 2 is the distance between features.
    distance: Tensor
    #: (2, ...) their weights in linear interpolation.
    weight: Tensor


def _neighbours(pixels: Tensor, axis: Axis, features: int, dtype: torch.dtype) -> Neighbours:
    """Neighbours of the result's ``pixels``, by their centres, of ``features`` from ``axis.start`` on."""
    # In units of 1 / (2 * side) of a feature's side; integers, so that no rounding moves a neighbour.
    unit = 2 * axis.side
    centre = (2 * pixels + 1) * axis.lr_side - axis.side - unit * axis.start
    before = torch.div(centre, unit, rounding_mode="floor")
    index = torch.stack((before, before + 1)).clamp(0, features - 1)
    behind = (centre - unit * before).to(dtype) / unit
    distance = (centre - unit * index).to(dtype) / axis.side
    return Neighbours(index, distance, torch.stack((1 - behind, behind)))


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

    def forward(
        self,
        image: Tensor,
        features: Tensor,
        rows: Neighbours,
        columns: Neighbours,
        pixel_size: tuple[float, float],
    ) -> Tensor:
        """Colours at positions of which each row meets each column, or each pair its own.

        Args:
            image: (B, 3, H, W), to whose linear interpolation the waves are added.
            features: (B, C, H, W).
            rows: of h rows, or of (B, n) positions, which are then not between rows and columns of a grid.
            columns: of w columns, or of (B, n) positions.
            pixel_size: height and width of the result's pixels, where those of the features have 2.

        Returns:
            (B, 3, h, w), or (B, 3, 1, n), in the dtype of the distances.
        """
        phase = self.phase(torch.stack([features.new_full((), side) for side in pixel_size]))
        amplitude, frequency, image = (
            maps.permute(0, 2, 3, 1)
            for maps in (self.amplitude(features), self.frequency(features), image.to(rows.distance.dtype))
        )

        def colours(rows: Neighbours) -> Tensor:
            waves = self._waves(amplitude, frequency, phase, rows, columns)
            return (waves + _bilinear(image, rows, columns)).movedim(-1, 1)

        if rows.feature.ndim > 2:
            return colours(rows)[:, :, None]
        # Training keeps everything for its gradients: parts would save nothing.
        height, width = rows.feature.shape[1], columns.feature.shape[1]
        at_a_time = height if torch.is_grad_enabled() else _QUERIES_AT_A_TIME // (len(features) * width)
        parts = [
            colours(Neighbours(*part))
            for part in zip(*(tensor.split(max(1, at_a_time), dim=1) for tensor in rows), strict=True)
        ]
        return torch.cat(parts, dim=2)

    def _waves(
        self, amplitude: Tensor, frequency: Tensor, phase: Tensor, rows: Neighbours, columns: Neighbours
    ) -> Tensor:
        """(B, h, w, 3) or (B, n, 3): the mean of the four neighbours' colours, weighted by proximity."""
        total = weights = 0.0
        for i, j in product((0, 1), repeat=2):
            y, x = _meeting(rows.distance[i], columns.distance[j])
            vertical, horizontal = (
                _pick(frequency, rows.feature[i], columns.feature[j]).unflatten(-1, (-1, 2)).unbind(-1)
            )
            wave = torch.pi * (vertical * y + horizontal * x + phase)
            waves = torch.cat((wave.cos(), wave.sin()), dim=-1).to(amplitude.dtype)
            colours = self.mlp(_pick(amplitude, rows.feature[i], columns.feature[j]) * waves)
            # The area of the rectangle between the query and the opposite neighbour.
            above, beside = _meeting(rows.distance[1 - i], columns.distance[1 - j])
            weight = (above * beside).abs() + _SMALLEST_AREA
            total, weights = total + colours * weight, weights + weight
        assert isinstance(total, Tensor)
        return total / weights


def _meeting(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """(h,) and (w,), or (B, n) each, so that they broadcast with (B, h, w, Q) or (B, n, Q)."""
    return (rows if rows.ndim > 1 else rows[:, None])[..., None], columns[..., None]


def _pick(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B, h, w, Q): all pairs of rows and columns of maps (B, H, W, Q); or (B, n, Q): a pair for each."""
    if rows.ndim == 1:
        return maps.index_select(1, rows).index_select(2, columns)
    places = (rows * maps.shape[2] + columns)[..., None].expand(-1, -1, maps.shape[-1])
    return maps.flatten(1, 2).gather(1, places)


def _bilinear(image: Tensor, rows: Neighbours, columns: Neighbours) -> Tensor:
    """(B, H, W, 3) to (B, h, w, 3) or (B, n, 3)."""
    total = image.new_zeros(())
    for i, j in product((0, 1), repeat=2):
        above, beside = _meeting(rows.weight[i], columns.weight[j])
        total = total + _pick(image, rows.feature[i], columns.feature[j]) * (above * beside)
    return total


class EscLTE(EscNetwork, AnyScale):
    """Super-resolver of any scale: :meth:`upsample` makes an image of any size, one network for all.

    Args:
        scale: the scale of ``forward``; any integer.
        dim: feature channels C.
        query_dim: channels Q of the texture estimator, even.
        normed_steps: whether the steps begin with a norm.
        encoder: further arguments of :class:`EscNetwork`.
    """

    published_range = (1.0, _LARGEST_TRAINED_SCALE)

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

    def restore_axes(self, lr_image: Tensor, rows: Axis, columns: Axis) -> Tensor:
        """Colours of the wanted rows and columns."""
        row_pixels, column_pixels = (
            torch.arange(axis.first, axis.stop, device=lr_image.device) for axis in (rows, columns)
        )
        return self._colours(lr_image, row_pixels, column_pixels, rows, columns)

    def sample(self, lr_image: Tensor, size: tuple[int, int], pixels: Tensor) -> Tensor:
        """As :meth:`AnyScale.sample`: the texture estimator runs for the wanted pixels alone."""
        height, width = checked_size(lr_image, size)
        rows, columns = Axis.whole(lr_image.shape[2], height), Axis.whole(lr_image.shape[3], width)
        row_pixels = torch.div(pixels, width, rounding_mode="floor")
        return self._colours(lr_image, row_pixels, pixels % width, rows, columns)

    def _colours(
        self, lr_image: Tensor, row_pixels: Tensor, column_pixels: Tensor, rows: Axis, columns: Axis
    ) -> Tensor:
        image = 2.0 * lr_image - 1.0
        # In half precision, waves would come out wrong by several per cent.
        dtype = torch.promote_types(image.dtype, torch.float32)
        height, width = lr_image.shape[-2:]
        places = (
            _neighbours(row_pixels, rows, height, dtype),
            _neighbours(column_pixels, columns, width, dtype),
        )
        scales = [axis.side / axis.lr_side for axis in (rows, columns)]
        # Beyond the scales of the training, a pixel is described as one of its largest scale.
        clip = max(1.0, max(scales) / _LARGEST_TRAINED_SCALE)
        features = self.encoder(image, self.backend_for(lr_image))
        pixel_size = 2 * clip / scales[0], 2 * clip / scales[1]
        colours = self.estimator(image, features, *places, pixel_size)
        return ((colours + 1.0) / 2.0).to(image.dtype)
