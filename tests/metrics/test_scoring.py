import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from golden_files import load_golden
from protocols import basicsr, elan, published_y, rgb
from srlab.metrics.protocol import Arithmetic, GrayRule, protocol_label
from srlab.metrics.registry import find_metric
from srlab.metrics.scoring import least_side, score, to_levels
from srlab.ops.input_padding import InputPadding

GOLDEN = "degrade_metrics/metrics.json"
psnr, ssim = find_metric("psnr"), find_metric("ssim")
TOLERANCES = {"y": (1e-6, 1e-6), "rgb": (1e-6, 1e-6), "elan": (1e-8, 1e-6)}  # dB, SSIM
# Flat areas leave ELAN's float32 SSIM a difference of squares that are equal but for rounding, which differs
# between processors: one rounding of 255^2 beside the constant C2 = (0.03 * 255)^2.
FLAT = ("constant_offset", "elan")
FLAT_TOLERANCE = 2**-24 * 255**2 / (0.03 * 255) ** 2


def recorded_scores():
    """(pair, kind, border, [psnr, ssim]) of every score that the official code gave."""
    for key, values in load_golden(GOLDEN).about["results"].items():
        pair, crop, *color = key.split("/")
        kind = color[0] if color else "elan"
        yield pair, kind, int(crop.rpartition("crop")[2]), [float(value) for value in values]


@pytest.fixture(scope="module")
def pairs():
    arrays = load_golden(GOLDEN).arrays
    return {key: image.permute(2, 0, 1) for key, image in arrays.items() if key.endswith(("/a", "/b"))}


@pytest.fixture
def image():
    return torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def noisy(image, amplitude=20):
    noise = torch.randint(-amplitude, amplitude + 1, image.shape, generator=torch.Generator().manual_seed(1))
    return (image + noise).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("pair", "kind", "border", "expected"),
    [pytest.param(*case, id="-".join(map(str, case[:3]))) for case in recorded_scores()],
)
def test_scores_equal_the_official_code(pairs, pair, kind, border, expected, dtype):
    protocol = {"y": basicsr, "rgb": rgb, "elan": elan}[kind](border)
    result = score(pairs[f"{pair}/a"].to(dtype) / 255, pairs[f"{pair}/b"], protocol)
    psnr_tolerance, ssim_tolerance = TOLERANCES[kind]
    if (pair, kind) == FLAT:
        ssim_tolerance = FLAT_TOLERANCE
    assert result["psnr"].item() == pytest.approx(expected[0], abs=psnr_tolerance)
    assert result["ssim"].item() == pytest.approx(expected[1], abs=ssim_tolerance)


@pytest.mark.parametrize("difference", [1, 7, 100])
def test_psnr_of_a_constant_difference_is_closed_form(difference):
    reference = torch.full((2, 3, 12, 13), 50.0)
    values = psnr(reference + difference, reference, peak=255.0)
    expected = 20 * math.log10(255 / difference)
    assert values.tolist() == pytest.approx([expected, expected], abs=1e-12)
    assert values.dtype is torch.float64


def test_psnr_weighs_images_one_by_one_as_torchmetrics_does_with_dims():
    a, b = torch.rand(2, 4, 3, 20, 21, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = peak_signal_noise_ratio(a, b, data_range=1.0, reduction="none", dim=(1, 2, 3))
    torch.testing.assert_close(psnr(a, b, peak=1.0), expected, rtol=0, atol=2e-6)


def test_ssim_equals_scikit_image(image):
    other = noisy(image)
    a, b = image[:1].double(), other[:1].double()
    expected = structural_similarity(
        a[0].numpy(),
        b[0].numpy(),
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(a[None], b[None], peak=255.0).item() == pytest.approx(expected, abs=1e-12)


def test_ssim_equals_the_inside_of_torchmetrics_full_image(image):
    a, b = image[None].double(), noisy(image)[None].double()
    _, full = structural_similarity_index_measure(a, b, sigma=1.5, data_range=255.0, return_full_image=True)
    assert ssim(a, b, peak=255.0).item() == pytest.approx(full[..., 5:-5, 5:-5].mean().item(), abs=1e-12)


def test_ssim_depends_on_values_relative_to_the_peak(image):
    a, b = image[None].double(), noisy(image)[None].double()
    assert ssim(a, b, peak=255.0).item() == pytest.approx(ssim(a / 255, b / 255, peak=1.0).item(), abs=1e-13)


@pytest.mark.parametrize("make", [basicsr, elan, rgb])
def test_identical_images_score_infinite_and_one(image, make):
    result = score(image.float() / 255, image, make(2))
    assert math.isinf(result["psnr"])
    assert result["ssim"].item() == pytest.approx(1.0, abs=1e-6)


def test_eight_bit_rounding_is_what_saving_the_image_would_do(image):
    sr_image = noisy(image).float() / 255
    drifted = sr_image + 0.4 / 255
    assert score(drifted, image, basicsr(2)) == score(sr_image, image, basicsr(2))
    assert score(drifted, image, elan(2))["psnr"] != score(sr_image, image, elan(2))["psnr"]


def test_eight_bit_luma_is_rounded_in_both_images(image):
    def luma(pixels):
        red, green, blue = pixels.numpy().astype(float) / 255
        return np.rint(16 + 65.481 * red + 128.553 * green + 24.966 * blue)[2:-2, 2:-2]

    other = noisy(image)
    result = score(other.float() / 255, image, basicsr(2, arithmetic=Arithmetic.eight_bit))
    expected = 10 * math.log10(255**2 / np.mean((luma(other) - luma(image)) ** 2))
    assert result["psnr"].item() == pytest.approx(expected, abs=1e-9)


def test_values_outside_the_range_count_as_its_ends(image):
    sr_image = (noisy(image).float() / 255 - 0.5) * 3
    for make in (basicsr, elan, rgb):
        assert score(sr_image, image, make(2)) == score(sr_image.clamp(0, 1), image, make(2))


def test_pixels_inside_the_border_do_not_count(image):
    sr_image = noisy(image).float() / 255
    changed = torch.zeros_like(sr_image)
    changed[:, 3:-3, 3:-3] = sr_image[:, 3:-3, 3:-3]
    assert score(changed, image, basicsr(3)) == score(sr_image, image, basicsr(3))


def test_luma_of_a_neutral_offset_is_closed_form():
    """Full-swing gray moves by d, studio-swing luma by 219/255 d."""
    hr_image = torch.full((3, 20, 20), 100, dtype=torch.uint8)
    sr_image = torch.full((3, 20, 20), 110 / 255)
    expected = 20 * math.log10(255 / 10)
    assert score(sr_image, hr_image, rgb(0))["psnr"].item() == pytest.approx(expected, abs=1e-9)
    gain = 20 * math.log10(255 / 219)
    assert score(sr_image, hr_image, basicsr(0))["psnr"].item() == pytest.approx(expected + gain, abs=1e-4)


@pytest.mark.parametrize("arithmetic", list(Arithmetic))
def test_a_gray_reference_may_be_its_own_luma(arithmetic):
    """Not its studio-swing Y, which would gain 1.32 dB."""
    hr_image = torch.full((1, 20, 20), 100, dtype=torch.uint8)
    sr_image = torch.full((3, 20, 20), 110 / 255)
    result = score(sr_image, hr_image, basicsr(2, arithmetic=arithmetic, gray=GrayRule.own))
    assert result["psnr"].item() == pytest.approx(20 * math.log10(255 / 10), abs=1e-5)


@pytest.mark.parametrize("make", [basicsr, elan, rgb])
def test_a_gray_reference_is_scored_as_three_equal_channels(image, make):
    gray, sr_image = image[:1], noisy(image).float() / 255
    assert score(sr_image, gray, make(2)) == score(sr_image, gray.expand(3, -1, -1), make(2))


@pytest.mark.parametrize(("make", "gain"), [(basicsr, 20 * math.log10(255 / 219)), (rgb, 0)])
def test_what_three_equal_channels_gain_over_their_common_value_is_closed_form(make, gain):
    """Luma's studio swing under ``y``; three equal errors have the mean square of one."""
    hr_image = torch.full((1, 20, 20), 100, dtype=torch.uint8)
    sr_image = torch.full((3, 20, 20), 110 / 255)
    replicated, own = make(0), make(0)
    own.gray = GrayRule.own
    difference = score(sr_image, hr_image, replicated)["psnr"] - score(sr_image, hr_image, own)["psnr"]
    assert difference.item() == pytest.approx(gain, abs=1e-4)


@pytest.mark.parametrize("rule", list(GrayRule))
def test_a_gray_reference_equal_to_the_gray_restored_image_scores_infinite(image, rule):
    gray = image[:1]
    for make in (basicsr, rgb):
        protocol = make(2)
        protocol.gray = rule
        assert math.isinf(score(gray.float().expand(3, -1, -1) / 255, gray, protocol)["psnr"])


def test_half_precision_is_widened_before_scaling(image):
    sr_image = (image.float() / 255).to(torch.bfloat16)
    levels = to_levels(sr_image, quantize=True)
    assert levels.dtype is torch.float32
    assert torch.equal(levels, (sr_image.float() * 255).round())


def test_label_names_an_input_padding_that_is_not_the_networks_own():
    assert protocol_label(basicsr(2)) == "basicsr"
    assert protocol_label(basicsr(2, padding=InputPadding.swinir_test)) == "basicsr+swinir_test"


def test_label_names_a_gray_rule_that_is_not_the_papers():
    assert protocol_label(basicsr(2, gray=GrayRule.own)) == "basicsr+gray_own"
    assert protocol_label(published_y(2)) == "published_y"
    replicated = published_y(2)
    replicated.gray = GrayRule.replicate
    assert protocol_label(replicated) == "published_y+gray_replicate"


def test_images_without_room_for_a_window_are_refused():
    small = torch.zeros(3, 14, 30, dtype=torch.uint8)
    assert score(small.float(), small, basicsr(1))["ssim"] == 1
    with pytest.raises(ValueError, match=r"SSIM needs at least 11x11 pixels, got 10x26; .* a smaller border"):
        score(small.float(), small, basicsr(2))
    with pytest.raises(ValueError, match=r"SSIM needs at least 11x11 pixels, got 10x30"):
        ssim(torch.zeros(1, 1, 10, 30), torch.zeros(1, 1, 10, 30), peak=1.0)
    with pytest.raises(ValueError, match=r"'basicsr' leaves nothing of \(3, 14, 30\): its border is 7"):
        score(small.float(), small, basicsr(7))
    with pytest.raises(ValueError, match=r"border must be 0 or more, got -1"):
        score(small.float(), small, basicsr(-1))


def test_the_least_side_is_what_scoring_accepts():
    protocols = [basicsr(2), rgb(4)]
    side = least_side(protocols)
    fits, small = (torch.zeros(3, size, size, dtype=torch.uint8) for size in (side, side - 1))
    for protocol in protocols:
        assert score(fits.float(), fits, protocol)["ssim"] == 1
    with pytest.raises(ValueError, match="SSIM needs at least 11x11 pixels"):
        score(small.float(), small, protocols[1])


def test_unfit_pairs_are_refused(image):
    sr_image = image.float() / 255
    with pytest.raises(ValueError, match=r"hr_image uint8, got torch.uint8 and torch.uint8"):
        score(image, image, basicsr(2))
    with pytest.raises(ValueError, match=r"got \(3, 40, 50\) and \(3, 40, 49\)"):
        score(sr_image, image[..., :49], basicsr(2))
    with pytest.raises(ValueError, match=r"one by one"):
        score(sr_image[None], image[None], basicsr(2))
    with pytest.raises(ValueError, match=r"scores only bicubic interpolation"):
        score(sr_image, image, published_y(2))
    with pytest.raises(ValueError, match=r"of one shape and not empty"):
        psnr(torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4), peak=1.0)
