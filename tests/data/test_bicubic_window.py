"""The oracle is ops.resize.imresize, which is held against MATLAB's own files and rational arithmetic."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from srlab.data.bicubic_window import context, shrink
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
def test_shrinking_equals_imresize_on_noise(scale: int, height: int, width: int, levels: int, seed: int):
    """Few levels make sums that end in exactly .5 frequent."""
    random = np.random.default_rng(seed)
    values = random.integers(0, levels, (3, height * scale, width * scale)) * 255 // (levels - 1)
    image = values.astype(np.uint8)
    np.testing.assert_array_equal(shrink(image, scale), whole(image, scale))


@pytest.mark.parametrize("scale", [2, 4])
def test_ties_are_rounded_up_as_imresize_does(scale: int):
    """Sums of the weights times a step of 1 at every phase reach exact halves at powers of two."""
    ramp = np.add.outer(np.arange(40 * scale), 3 * np.arange(24 * scale)) // 2 % 256
    image = np.stack([ramp, 255 - ramp, ramp // 8]).astype(np.uint8)
    np.testing.assert_array_equal(shrink(image, scale), whole(image, scale))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_shrinking_makes_the_files_that_matlab_wrote(scale: int, real_images: Path):
    folder = real_images / "benchmark/Set5"
    for file in sorted((folder / f"LR_bicubic/X{scale}").glob("*.png")):
        hr_image = read_image(folder / "HR" / f"{file.stem.removesuffix(f'x{scale}')}.png")
        height, width = (side // scale * scale for side in hr_image.shape[1:])
        np.testing.assert_array_equal(
            shrink(hr_image[:, :height, :width], scale), read_image(file), err_msg=file.name
        )


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_shrinking_equals_imresize_on_photographs(scale: int, real_images: Path):
    t91, b100 = (sorted((real_images / name).glob("*.png")) for name in ("train/T91", "benchmark/B100/HR"))
    for file in [*t91[::7], *b100[::20]]:
        image = read_image(file)
        image = image[:, : image.shape[1] // scale * scale, : image.shape[2] // scale * scale]
        np.testing.assert_array_equal(shrink(image, scale), whole(image, scale), err_msg=file.name)


@pytest.mark.parametrize("scale", [1, 6, 12])
def test_scales_without_exact_windows_are_refused(scale: int):
    with pytest.raises(ValueError, match=f"got scale={scale}"):
        context(scale)
