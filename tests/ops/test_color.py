import pytest
import torch

from golden_files import load_golden
from srlab.ops.color import gray_level, luma_double, luma_eight_bit, luma_single

GOLDEN = "degrade_metrics/metrics.npz"
PAIRS = ["coffee_bicubic4", "random"]


@pytest.fixture(scope="module")
def arrays():
    return load_golden(GOLDEN).arrays


def channels_first(image):
    return image.permute(2, 0, 1)


@pytest.mark.parametrize("pair", PAIRS)
def test_luma_through_float32_equals_basicsr(arrays, pair):
    """The recorded values lie in [0, 1]; the metrics multiply them by 255 in float32."""
    recorded = (arrays[f"{pair}/y_float_a"].float() * 255).double()
    assert torch.equal(luma_double(channels_first(arrays[f"{pair}/a"]))[0], recorded)


@pytest.mark.parametrize("pair", PAIRS)
def test_rounded_luma_equals_basicsr_on_uint8(arrays, pair):
    luma = luma_eight_bit(channels_first(arrays[f"{pair}/a"]))[0]
    assert torch.equal(luma, arrays[f"{pair}/y_u8_a"].double())


@pytest.mark.parametrize("luma", [luma_double, luma_single, luma_eight_bit])
def test_black_is_16_and_white_235(luma):
    ends = torch.tensor([0.0, 255.0]).view(1, 1, 2).expand(3, 1, 2)
    assert luma(ends).flatten().tolist() == pytest.approx([16, 235], abs=2e-5)


def test_primaries_have_the_weights_of_bt601():
    primaries = 255 * torch.eye(3).view(3, 1, 3)
    expected = [16 + 65.481, 16 + 128.553, 16 + 24.966]
    once_rounded = 255 * 2**-24  # the 255th part, to float32
    assert luma_double(primaries).flatten().tolist() == pytest.approx(expected, abs=once_rounded)


def test_single_precision_stays_in_float32(arrays):
    image = channels_first(arrays["random/a"])
    luma = luma_single(image)
    assert luma.dtype is torch.float32
    roundings = 6  # of a division, three products and three sums, none beyond 235; one of luma_double
    torch.testing.assert_close(luma.double(), luma_double(image), rtol=0, atol=roundings * 235 * 2**-24)


def test_gray_level_of_equal_channels_is_their_value_exactly():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    assert torch.equal(gray_level(levels.expand(3, -1, -1)), levels.double())


def test_gray_level_is_the_neutral_colour_of_the_same_luma(arrays):
    image = channels_first(arrays["random/a"])
    neutral = gray_level(image).expand(3, -1, -1)
    torch.testing.assert_close(luma_double(neutral), luma_double(image), rtol=0, atol=1e-4)


def test_batches_keep_their_axes():
    assert luma_double(torch.zeros(2, 4, 3, 5, 6)).shape == (2, 4, 1, 5, 6)


def test_gray_images_have_no_luma_to_compute():
    with pytest.raises(ValueError, match=r"luma needs 3 channels \(RGB\), got 1"):
        luma_single(torch.zeros(1, 4, 4))
