"""NIQE: how far the statistics of an image are from those of undistorted photographs, without a reference.

Paper:      A. Mittal, R. Soundararajan and A. Bovik, "Making a 'Completely Blind' Image Quality Analyzer",
            IEEE Signal Processing Letters 2013
Reference:  github.com/XPixelGroup/BasicSR at 8d56e3a0, basicsr/metrics/niqe.py; here in float64, as in the
            authors' MATLAB code.

Images with large flat regions are judged by the signs of rounding errors there: expect differences of 1 %
between implementations. The statistics of photographs are not shipped: BasicSR's file is read from where
torchvision keeps its downloads.
"""

import functools
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from srlab.metrics.registry import Metric
from srlab.official_files import official_file
from srlab.ops.blur import gaussian_means
from srlab.ops.color import luma_eight_bit
from srlab.ops.resize import imresize

_FILE = "niqe_pris_params.npz"
_URL = (
    "https://raw.githubusercontent.com/XPixelGroup/BasicSR/8d56e3a045f9fb3e1d8872f92ee4a4f07f886b0a/basicsr/metrics/"
    + _FILE
)
_SHA256 = "2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296"

_BLOCK = 96  # side at full size, without overlap
_WINDOW, _SIGMA = 7, 7 / 6  # of the local mean and deviation
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))  # to the neighbours whose products are fitted, cyclic


def distance(image: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """NIQE of one image (equation 10).

    Args:
        image: (H, W) luma 0..255 in float64; what exceeds whole blocks of 96x96 is left out.
        mean: (36,) of the features of photographs.
        covariance: (36, 36), likewise.

    Returns:
        A scalar, lower for more natural images; NaN where fewer than two blocks have any texture.
    """
    rows = features(image)
    rows_with_texture = rows[~rows.isnan().any(dim=1)]
    if len(rows_with_texture) < 2:
        return image.new_tensor(torch.nan)
    difference = mean - rows.nanmean(dim=0)
    joined = (covariance + rows_with_texture.T.cov()) / 2
    return (difference @ torch.linalg.pinv(joined, hermitian=True) @ difference).sqrt()


def features(image: Tensor) -> Tensor:
    """(H, W) luma 0..255 to (blocks, 36): 18 for each block at full and at half size (section 2.2)."""
    height, width = (side // _BLOCK * _BLOCK for side in image.shape)
    image = image[:height, :width]
    half = imresize(image[None] / 255, size=(height // 2, width // 2), mode="float")[0] * 255
    found = []
    for side, plane in ((_BLOCK, image), (_BLOCK // 2, half)):
        blocks = _normalized(plane).unfold(0, side, side).unfold(1, side, side).flatten(0, 1)
        found.append(torch.stack(list(_block_features(blocks)), dim=1))
    return torch.cat(found, dim=1)


def fit_asymmetric_gaussian(samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Moment estimates of asymmetric generalized Gaussians (N.-E. Lasmar and others, ICIP 2009).

    The density is proportional to exp(-(|x| / b)^shape) with one b left of 0 and another right of it.

    Args:
        samples: (N, H, W); NaN results where they have not both signs.

    Returns:
        shape, in 0.2..10 with steps of 0.001, left b and right b, (N,) each.
    """
    values = samples.flatten(1)
    squares = values.square()
    sides = (values < 0, values > 0)
    left, right = ((torch.where(side, squares, 0).sum(dim=1) / side.sum(dim=1)).sqrt() for side in sides)
    skew = left / right
    ratio = values.abs().mean(dim=1).square() / squares.mean(dim=1)
    ratio = ratio * (skew**3 + 1) * (skew + 1) / (skew.square() + 1).square()
    shapes = torch.arange(200, 10001, dtype=values.dtype, device=values.device) / 1000
    expected = torch.exp(2 * torch.lgamma(2 / shapes) - torch.lgamma(1 / shapes) - torch.lgamma(3 / shapes))
    shape = shapes[(ratio[:, None] - expected).abs().argmin(dim=1)]
    width = torch.exp((torch.lgamma(1 / shape) - torch.lgamma(3 / shape)) / 2)
    return torch.where(ratio.isnan(), torch.nan, shape), left * width, right * width


def read_parameters() -> tuple[Tensor, Tensor]:
    """Mean (36,) and covariance (36, 36) of the features of photographs, float64.

    Raises:
        FileNotFoundError: the file is missing; the message names its source and where to put it.
        ValueError: it has other content than the published one.
    """
    path = official_file(
        _FILE,
        sha256=_SHA256,
        url=_URL,
        needed_by="metric niqe",
        remedy="run `srlab download niqe`, or leave niqe out of metrics",
    )
    with np.load(path, allow_pickle=False) as content:
        return torch.from_numpy(content["mu_pris_param"][0]), torch.from_numpy(content["cov_pris_param"])


def _niqe(restored: Tensor, peak: float) -> Tensor:
    mean, covariance = _parameters_on(restored.device)
    luma = luma_eight_bit(restored.to(torch.float64) / peak * 255)[:, 0]
    return torch.stack([distance(image, mean, covariance) for image in luma])


def _normalized(plane: Tensor) -> Tensor:
    """Each pixel minus its local mean, over its local deviation plus 1 (equation 1); borders are repeated."""

    def blur(values: Tensor) -> Tensor:
        padded = F.pad(values[None, None], (_WINDOW // 2,) * 4, mode="replicate")
        return gaussian_means(padded, _WINDOW, _SIGMA)[0, 0]

    mean = blur(plane)
    deviation = (blur(plane.square()) - mean.square()).abs().sqrt()
    return (plane - mean) / (deviation + 1)


def _block_features(blocks: Tensor) -> Iterator[Tensor]:
    """18 features (N,) of normalized blocks (N, S, S): their fit, and those of products with neighbours."""
    shape, left, right = fit_asymmetric_gaussian(blocks)
    yield from (shape, (left + right) / 2)
    for shift in _SHIFTS:
        shape, left, right = fit_asymmetric_gaussian(blocks * blocks.roll(shift, dims=(1, 2)))
        mean = (right - left) * torch.exp(torch.lgamma(2 / shape) - torch.lgamma(1 / shape))
        yield from (shape, mean, left, right)


@functools.lru_cache(maxsize=4)
def _parameters_on(device: torch.device) -> tuple[Tensor, Tensor]:
    mean, covariance = read_parameters()
    return mean.to(device), covariance.to(device)


METRIC = Metric(
    name="niqe",
    label="NIQE",
    compute_alone=_niqe,
    higher_is_better=False,
    decimals=3,
    # four blocks: a covariance needs two
    least_side=2 * _BLOCK,
    needs_rgb=True,
    prepare=lambda: _parameters_on(torch.device("cpu")),
)
