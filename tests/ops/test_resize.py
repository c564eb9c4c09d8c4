"""Oracles: files that MATLAB wrote, recorded outputs of BasicSR's function, and rational arithmetic."""

from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from golden_files import load_golden
from srlab.ops.resize import imresize, mirrored, resize_taps

GOLDEN = load_golden("degrade_metrics/imresize.json")
NAMES = sorted(key for key in GOLDEN.arrays if key.endswith(("down_f64", "up_f64", "noaa_f64")))


def planes(array: torch.Tensor) -> torch.Tensor:
    """(H, W, C) as the fixtures have it to (C, H, W)."""
    return array.permute(2, 0, 1).contiguous()


def read(path: Path) -> torch.Tensor:
    return planes(torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()))


def dense_matrix(input_side: int, scale: int) -> np.ndarray:
    """Downsampling by an integer as a matrix of exact fractions, written down from Keys' formula."""
    matrix = np.zeros((-(-input_side // scale), input_side), dtype=object)
    for row in range(len(matrix)):
        center = Fraction(2 * row * scale + scale - 1, 2)
        for tap in range(row * scale - 3 * scale, row * scale + 4 * scale):
            x = abs(center - tap) / scale
            if x <= 1:
                weight = Fraction(3, 2) * x**3 - Fraction(5, 2) * x**2 + 1
            elif x < 2:
                weight = -Fraction(1, 2) * x**3 + Fraction(5, 2) * x**2 - 4 * x + 2
            else:
                continue
            mirrored = tap % (2 * input_side)
            mirrored = mirrored if mirrored < input_side else 2 * input_side - 1 - mirrored
            matrix[row, mirrored] += weight / scale
    return matrix


def downsample_exactly(image: np.ndarray, scale: int) -> np.ndarray:
    """(H, W) uint8 by rational arithmetic, half-up rounding after each pass."""

    def rounded(values: np.ndarray) -> np.ndarray:
        return np.vectorize(lambda v: min(255, max(0, floor(v + Fraction(1, 2)))), otypes=[object])(values)

    rows = rounded(dense_matrix(image.shape[0], scale) @ image.astype(object))
    return rounded(rows @ dense_matrix(image.shape[1], scale).T).astype(np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_float_mode_equals_the_recorded_outputs(name: str):
    picture, factor, what = name.split("/")
    image = GOLDEN.arrays[f"{picture}/img"]
    scale = int(factor[1:])
    if what == "up_f64":
        image = GOLDEN.arrays[f"{picture}/{factor}/up_src"]
    elif what.startswith("modcrop"):
        image = image[: image.shape[0] // scale * scale, : image.shape[1] // scale * scale]
    resized = imresize(
        planes(image).double() / 255,
        scale=scale if what == "up_f64" else Fraction(1, scale),
        mode="float",
        antialias=what != "noaa_f64",
    )
    assert_close(resized, planes(GOLDEN.arrays[name]), rtol=0, atol=2e-6)
    single = imresize(
        planes(image).float() / 255,
        scale=scale if what == "up_f64" else 1 / scale,
        mode="float",
        antialias=what != "noaa_f64",
    )
    assert single.dtype == torch.float32
    # besides: sums of up to 16 products of values below 1, in float32, once for each axis
    rounding = 2 * 16**0.5 * torch.finfo(torch.float32).eps
    assert_close(single.double(), planes(GOLDEN.arrays[name]), rtol=0, atol=2e-6 + rounding)


@pytest.mark.parametrize("name", sorted(key for key in GOLDEN.arrays if key.endswith("down_u8")))
def test_float_mode_rounded_once_equals_the_recorded_bytes(name: str):
    picture, factor, _ = name.split("/")
    image = planes(GOLDEN.arrays[f"{picture}/img"]).double()
    once = imresize(image, scale=Fraction(1, int(factor[1:])), mode="float").clamp(0, 255).round()
    assert torch.equal(once.byte(), planes(GOLDEN.arrays[name]))


@pytest.mark.parametrize(
    "name", sorted({key.split("/")[1] for key in GOLDEN.arrays if key.startswith("weights")})
)
def test_weights_equal_the_recorded_ones(name: str):
    input_side, output_side = map(int, name.split("_"))
    recorded, positions = GOLDEN.arrays[f"weights/{name}/w"], GOLDEN.arrays[f"weights/{name}/idx"]
    factor = 2.0 if output_side > input_side else 1 / round(input_side / output_side)
    weights, taps = resize_taps(output_side, factor, True)
    indices = mirrored(taps, input_side)
    before = int(GOLDEN.arrays[f"weights/{name}/pad"][0])
    dense, expected = np.zeros((output_side, input_side)), np.zeros((output_side, input_side))
    np.add.at(dense, (np.arange(output_side)[:, None], indices), weights)
    unpadded = np.mod(positions.numpy() - before, 2 * input_side)
    unpadded = np.where(unpadded < input_side, unpadded, 2 * input_side - 1 - unpadded)
    np.add.at(expected, (np.arange(output_side)[:, None], unpadded), recorded.numpy())
    np.testing.assert_allclose(dense, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_uint8_mode_makes_the_files_that_matlab_wrote(scale: int, real_images: Path):
    folder = real_images / "benchmark/Set5"
    files = sorted((folder / f"LR_bicubic/X{scale}").glob("*.png"))
    assert len(files) == 5
    for file in files:
        hr_image = read(folder / "HR" / f"{file.stem.removesuffix(f'x{scale}')}.png")
        height, width = (side // scale * scale for side in hr_image.shape[-2:])
        made = imresize(hr_image[:, :height, :width], scale=Fraction(1, scale), mode="uint8")
        assert torch.equal(made, read(file)), file


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("kind", ["noise", "black and white", "ramp of ties", "one pixel"])
def test_uint8_mode_equals_rational_arithmetic(scale: int, kind: str):
    """Ties at .5 included: the oracle computes with fractions."""
    shape = (31, 26)
    random = np.random.default_rng(scale)
    image = {
        "noise": random.integers(0, 256, shape),
        "black and white": random.integers(0, 2, shape) * 255,
        "ramp of ties": np.add.outer(np.arange(31), np.arange(26)) % 256,
        "one pixel": np.array([[200]]),
    }[kind].astype(np.uint8)
    made = imresize(torch.from_numpy(image), scale=Fraction(1, scale), mode="uint8")
    np.testing.assert_array_equal(made.numpy(), downsample_exactly(image, scale))


@pytest.mark.parametrize(("scale", "denominator"), [(2, 256), (3, 81), (4, 4096)])
def test_weights_are_the_documented_fractions(scale: int, denominator: int):
    numerators = dense_matrix(20 * scale, scale) * denominator
    assert all(value.denominator == 1 for value in numerators.ravel() if value)
    weights, taps = resize_taps(20, 1 / scale, True)
    indices = mirrored(taps, 20 * scale)
    dense = np.zeros((20, 20 * scale))
    np.add.at(dense, (np.arange(20)[:, None], indices), weights)
    np.testing.assert_allclose(dense * denominator, numerators.astype(float), rtol=0, atol=1e-9)
    assert np.abs(dense).sum(axis=1).max() * denominator * 255 + denominator / 2 < 2**24


def test_a_constant_image_stays_constant():
    for scale in (0.3, Fraction(2, 7), 0.999, 1, 1.7, 5):
        image = torch.full((2, 3, 17, 9), 0.625, dtype=torch.float64)
        resized = imresize(image, scale=scale, mode="float")
        assert resized.shape[-2:] == (-(-17 * scale // 1), -(-9 * scale // 1))
        assert_close(resized, torch.full_like(resized, 0.625))


def test_each_side_may_have_its_own_factor():
    """Resizing one axis by 1 leaves it alone, so that two calls equal one."""
    image = torch.rand(3, 12, 30, dtype=torch.float64)
    both = imresize(image, size=(24, 10), mode="float")
    one_by_one = imresize(imresize(image, size=(12, 10), mode="float"), size=(24, 10), mode="float")
    assert_close(both, one_by_one, rtol=0, atol=1e-14)


def test_float_mode_is_differentiable():
    image = torch.rand(1, 1, 7, 5, dtype=torch.float64, requires_grad=True)
    for scale in (2, Fraction(1, 3)):
        assert torch.autograd.gradcheck(lambda x, s=scale: imresize(x, scale=s, mode="float"), image)


def test_weights_first_used_in_inference_mode_serve_training_too():
    with torch.inference_mode():
        imresize(torch.rand(1, 23, 29), scale=2, mode="float")
    image = torch.rand(1, 23, 29, requires_grad=True)
    imresize(image, scale=2, mode="float").sum().backward()
    assert image.grad is not None


def test_half_precision_is_accumulated_in_single():
    image = torch.rand(3, 20, 20).half()
    expected = imresize(image.float(), scale=0.25, mode="float").half()
    assert torch.equal(imresize(image, scale=0.25, mode="float"), expected)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"mode": "uint8"}, "exactly one of scale and size"),
        ({"mode": "uint8", "scale": 2, "size": (4, 4)}, "exactly one of scale and size"),
        ({"mode": "uint8", "scale": 0}, "positive number, got 0"),
        ({"mode": "uint8", "size": (0, 4)}, "at least 1x1"),
        ({"mode": "float", "scale": 2}, "got torch.uint8"),
        ({"mode": "round", "scale": 2}, "got 'round'"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, fault: str):
    with pytest.raises(ValueError, match=fault):
        imresize(torch.zeros(1, 8, 8, dtype=torch.uint8), **arguments)


def test_uint8_mode_refuses_floats():
    with pytest.raises(ValueError, match=r"takes a torch.uint8 image, got torch.float32"):
        imresize(torch.zeros(1, 8, 8), scale=2, mode="uint8")
