"""The oracle is ops.resize.imresize, which is held against MATLAB's own files and rational arithmetic."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from srlab.data import bicubic_window
from srlab.data.bicubic_window import context, downsample, downsample_tensor
from srlab.data.images import read_image
from srlab.ops.resize import imresize


def whole(image: np.ndarray, scale: int) -> np.ndarray:
    return imresize(torch.from_numpy(np.array(image)), scale=Fraction(1, scale), mode="uint8").numpy()


@settings(max_examples=60, deadline=None)
@given(
    scale=st.sampled_from([2, 3, 4, 5, 7, 8]),
    height=st.integers(1, 21),
    width=st.integers(1, 21),
    levels=st.sampled_from([2, 3, 17, 256]),
    seed=st.integers(0, 2**32),
)
def test_downsampling_equals_imresize_on_noise(scale: int, height: int, width: int, levels: int, seed: int):
    """Few levels make sums that end in exactly .5 frequent."""
    random = np.random.default_rng(seed)
    values = random.integers(0, levels, (3, height * scale, width * scale)) * 255 // (levels - 1)
    image = values.astype(np.uint8)
    expected = whole(image, scale)
    np.testing.assert_array_equal(downsample(image, scale), expected)
    window = np.pad(image, ((0, 0), *[(context(scale),) * 2] * 2), mode="symmetric")
    np.testing.assert_array_equal(downsample_tensor(torch.from_numpy(window), scale), expected)


@pytest.mark.parametrize("scale", [2, 4])
def test_ties_are_rounded_up_as_imresize_does(scale: int):
    """Sums of the weights times a step of 1 at every phase reach exact halves at powers of two."""
    ramp = np.add.outer(np.arange(40 * scale), 3 * np.arange(24 * scale)) // 2 % 256
    image = np.stack([ramp, 255 - ramp, ramp // 8]).astype(np.uint8)
    np.testing.assert_array_equal(downsample(image, scale), whole(image, scale))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_downsampling_makes_the_files_that_matlab_wrote(scale: int, real_images: Path):
    folder = real_images / "benchmark/Set5"
    for file in sorted((folder / f"LR_bicubic/X{scale}").glob("*.png")):
        hr_image = read_image(folder / "HR" / f"{file.stem.removesuffix(f'x{scale}')}.png")
        height, width = (side // scale * scale for side in hr_image.shape[1:])
        np.testing.assert_array_equal(
            downsample(hr_image[:, :height, :width], scale), read_image(file), err_msg=file.name
        )


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_downsampling_equals_imresize_on_photographs(scale: int, real_images: Path):
    t91, b100 = (sorted((real_images / name).glob("*.png")) for name in ("train/T91", "benchmark/B100/HR"))
    for file in [*t91[::7], *b100[::20]]:
        image = read_image(file)
        image = image[:, : image.shape[1] // scale * scale, : image.shape[2] // scale * scale]
        np.testing.assert_array_equal(downsample(image, scale), whole(image, scale), err_msg=file.name)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_windows_are_downsampled_in_fixed_point_here(scale: int):
    """If torch's rounding were not MATLAB's, the slower way would be taken."""
    assert bicubic_window._is_exact_here(scale)


def test_a_torch_that_rounds_otherwise_is_found_out(monkeypatch, caplog):
    """Half down instead of up, on values that end in .5: noise must hold some."""
    right = bicubic_window._downsample_rows
    wrong = lambda planes, count: 255 - right(255 - planes, count)  # noqa: E731
    monkeypatch.setattr(bicubic_window, "_downsample_rows", wrong)
    bicubic_window._is_exact_here.cache_clear()
    image = np.random.default_rng(0).integers(0, 2, (3, 40, 24), dtype=np.uint8) * 255
    np.testing.assert_array_equal(downsample(image, 2), whole(image, 2))
    assert "x2 crops are made in floating point" in caplog.text
    bicubic_window._is_exact_here.cache_clear()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_rounding_errors_of_sixteen_bits_stay_below_the_distance_from_a_tie(scale: int):
    """In rational arithmetic, of MATLAB's weights: none at x2 and x4; over 81 a tie is 1/162 away."""
    taps = 4 * scale - scale % 2
    distances = [abs(Fraction(2 * tap + 1 - taps, 2 * scale)) for tap in range(taps)]
    weights = [
        (3 * x**3 - 5 * x**2 + 2 if x <= 1 else -(x**3) + 5 * x**2 - 8 * x + 4) / (2 * scale)
        for x in distances
    ]
    assert sum(weights) == 1
    errors = [Fraction(math.floor(weight * 2**16 + Fraction(1, 2)), 2**16) - weight for weight in weights]
    worst = 255 * max(sum(e for e in errors if e > 0), -sum(e for e in errors if e < 0))
    assert worst == 0 if scale != 3 else worst < Fraction(1, 162)


@pytest.mark.parametrize("scale", [1, 6, 12])
def test_scales_without_exact_windows_are_refused(scale: int):
    with pytest.raises(ValueError, match=f"got scale={scale}"):
        context(scale)
