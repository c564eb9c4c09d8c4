import hashlib
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, special
from scipy.stats import gennorm
from skimage.data import astronaut

from protocols import published_y, rgb
from srlab.metrics import niqe
from srlab.metrics.registry import find_metric, ready_metrics
from srlab.metrics.scoring import score, score_bicubic
from srlab.ops.color import luma_eight_bit
from srlab.ops.resize import imresize


@pytest.fixture(scope="module")
def photograph():
    """(3, 200, 300), uint8."""
    return torch.from_numpy(astronaut()[20:220, 100:400].transpose(2, 0, 1).copy())


@pytest.fixture(scope="module")
def parameters():
    """Random ones in the layout of the official file."""
    random = np.random.default_rng(0)
    root = random.standard_normal((36, 36)) / 6
    return random.uniform(0.2, 1.5, 36), root @ root.T + 0.1 * np.eye(36)


@pytest.fixture
def file(tmp_path, monkeypatch, parameters):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    niqe._parameters_on.cache_clear()
    path = tmp_path / "checkpoints/niqe_pris_params.npz"
    path.parent.mkdir()
    np.savez(path, mu_pris_param=parameters[0][None], cov_pris_param=parameters[1])
    monkeypatch.setattr(niqe, "_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    yield path
    niqe._parameters_on.cache_clear()


def asymmetric_samples(shape, left, right, count):
    """Magnitudes of scipy's generalized normal, left of 0 with the probability left / (left + right)."""
    random = np.random.default_rng(0)
    size = np.abs(gennorm.rvs(shape, size=count, random_state=random))
    is_left = random.random(count) < left / (left + right)
    return torch.from_numpy(np.where(is_left, -left * size, right * size)).view(1, 1, count)


@pytest.mark.parametrize(("shape", "left", "right"), [(2.0, 1.0, 1.0), (0.8, 0.5, 1.5), (4.0, 2.0, 0.7)])
def test_the_fit_finds_what_samples_were_drawn_from(shape, left, right):
    found = niqe.fit_asymmetric_gaussian(asymmetric_samples(shape, left, right, 200_000))
    assert [value.item() for value in found] == pytest.approx([shape, left, right], rel=0.03)


def test_the_fit_solves_the_equation_of_moments():
    """Gamma(2/a)^2 / (Gamma(1/a) Gamma(3/a)) = the ratio of moments, within the grid of shapes."""
    values = asymmetric_samples(1.3, 0.6, 1.1, 2000)
    shape, left, right = (value.item() for value in niqe.fit_asymmetric_gaussian(values))
    x = values.numpy().ravel()
    deviations = [math.sqrt(np.mean(x[side] ** 2)) for side in (x < 0, x > 0)]
    g = deviations[0] / deviations[1]
    ratio = np.mean(np.abs(x)) ** 2 / np.mean(x**2) * (g**3 + 1) * (g + 1) / (g**2 + 1) ** 2

    def expected(a):
        return special.gamma(2 / a) ** 2 / special.gamma(1 / a) / special.gamma(3 / a)

    assert expected(shape - 0.001) < ratio < expected(shape + 0.001)
    width = math.sqrt(special.gamma(1 / shape) / special.gamma(3 / shape))
    assert [left, right] == pytest.approx([width * each for each in deviations], rel=1e-12)


def test_features_are_those_of_normalized_blocks_and_of_products_of_neighbours(photograph):
    """Oracle: scipy's Gaussian filter and numpy's roll, block by block; the fit is tested above."""
    luma = luma_eight_bit(photograph.double())[0]
    found = niqe.features(luma).numpy()
    assert found.shape == (2 * 3, 36)
    half = imresize(luma[None, :192, :288] / 255, scale=0.5, mode="float")[0].numpy() * 255
    for number, (plane, side) in enumerate(((luma[:192, :288].numpy(), 96), (half, 48))):

        def blur(values):
            return ndimage.gaussian_filter(values, 7 / 6, mode="nearest", radius=3)

        deviation = np.sqrt(np.abs(blur(plane**2) - blur(plane) ** 2))
        normalized = (plane - blur(plane)) / (deviation + 1)
        for row, column in ((0, 0), (0, 2), (1, 1)):
            block = normalized[row * side : (row + 1) * side, column * side : (column + 1) * side]
            expected = []
            for shift in (None, (0, 1), (1, 0), (1, 1), (1, -1)):
                values = block if shift is None else block * np.roll(block, shift, axis=(0, 1))
                a, left, right = (
                    each.item() for each in niqe.fit_asymmetric_gaussian(torch.from_numpy(values)[None])
                )
                mean = (right - left) * special.gamma(2 / a) / special.gamma(1 / a)
                expected += [a, (left + right) / 2] if shift is None else [a, mean, left, right]
            part = found[3 * row + column, 18 * number : 18 * (number + 1)]
            np.testing.assert_allclose(part, expected, rtol=1e-6, atol=2e-3)


def test_the_distance_is_that_of_two_normal_distributions(photograph, parameters):
    luma = luma_eight_bit(photograph.double())[0]
    rows = niqe.features(luma).numpy()
    difference = parameters[0] - rows.mean(axis=0)
    joined = (parameters[1] + np.cov(rows, rowvar=False)) / 2
    expected = math.sqrt(difference @ np.linalg.solve(joined, difference))
    made = niqe.distance(luma, *map(torch.from_numpy, parameters))
    assert made.item() == pytest.approx(expected, rel=1e-9)


def test_noise_and_blur_are_further_from_a_photograph_than_itself(photograph):
    """Against the photograph's own statistics."""
    luma = luma_eight_bit(photograph.double())[0]
    rows = niqe.features(luma)
    own = rows.mean(dim=0), rows.T.cov() + 1e-3 * torch.eye(36)
    noise = 15 * torch.randn(luma.shape, generator=torch.Generator().manual_seed(0))
    blurred = torch.from_numpy(ndimage.gaussian_filter(luma.numpy(), 1.5)).round()
    assert niqe.distance(luma, *own) < 1e-6
    assert min(niqe.distance(each, *own) for each in ((luma + noise).round(), blurred)) > 1


def test_the_reference_has_no_part_in_it(file, photograph):
    """Under every protocol it is the luma of the restored RGB; least side 192 after the border."""
    restored = photograph / 255
    scores = [score(restored, hr, rgb(4), ["niqe", "psnr"]) for hr in (photograph, 255 - photograph)]
    assert scores[0]["niqe"] == scores[1]["niqe"]
    assert scores[0]["psnr"] != scores[1]["psnr"]
    alone = niqe.distance(luma_eight_bit(photograph[:, 4:-4, 4:-4].double())[0], *niqe.read_parameters())
    assert scores[0]["niqe"].item() == pytest.approx(alone.item(), rel=1e-12)
    assert not find_metric("niqe").higher_is_better
    with pytest.raises(ValueError, match="NIQE needs at least 192x192 pixels, got 180x280"):
        score(restored, photograph, rgb(10), ["niqe"])
    with pytest.raises(ValueError, match="metric niqe compares RGB, and protocol 'published_y' restores"):
        score_bicubic(photograph, scale=2, protocol=published_y(2), metrics=["niqe"])


def test_images_without_texture_have_no_value(parameters):
    flat = torch.zeros(192, 192, dtype=torch.float64)
    assert niqe.distance(flat, *map(torch.from_numpy, parameters)).isnan()


def test_a_missing_or_other_file_is_named_with_its_source(file):
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"npz is not the official file: its SHA-256 begins"):
        ready_metrics(["niqe"])
    file.unlink()
    message = r"metric niqe needs niqe_pris_params.npz: download https://.* or run `srlab download niqe`"
    with pytest.raises(FileNotFoundError, match=message):
        ready_metrics(["niqe"])


def test_baboon_has_the_value_of_the_authors_matlab_code(real_images):
    """5.72957338 in MATLAB R2021a, as BasicSR's docstring has it."""
    try:
        parameters = niqe.read_parameters()
    except FileNotFoundError:
        pytest.skip("needs the statistics of photographs: srlab download niqe")
    baboon = np.asarray(Image.open(real_images / "benchmark/Set14/HR/baboon.png").convert("RGB"))
    luma = luma_eight_bit(torch.from_numpy(baboon.transpose(2, 0, 1).copy()).double())[0]
    assert niqe.distance(luma, *parameters).item() == pytest.approx(5.72957338, abs=2e-6)
