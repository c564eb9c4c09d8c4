"""Restoration and scores at scales that are not whole."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import srlab
from evaluation_sets import ListedSet
from preset_cases import narrowed
from protocols import basicsr, published_y
from srlab.metrics.protocol import at_scale
from srlab.metrics.scoring import score
from srlab.models.bicubic import Bicubic
from srlab.models.esc.blocks import PREDICTED_SIDE, KernelPredictor
from srlab.models.esc.esc_lte import EscLTE
from srlab.models.network import Network
from srlab.ops.input_padding import InputPadding
from srlab.ops.resize import imresize
from srlab.tasks.evaluation import evaluate
from srlab.tasks.restoration import restore, restore_padded


class Nearest(Network):
    """Repeats pixels."""

    def restore(self, lr_image):
        return F.interpolate(lr_image, scale_factor=self.scale, mode="nearest")


@pytest.fixture
def esc_lte(monkeypatch):
    """With constants for the kernels that it predicts from the whole image, which tiles would change."""

    def constant_kernels(self, features):
        return features.new_full((len(features), features.shape[1], PREDICTED_SIDE, PREDICTED_SIDE), 0.1)

    monkeypatch.setattr(KernelPredictor, "forward", constant_kernels)
    monkeypatch.setattr(EscLTE, "pools_globally", ())
    torch.manual_seed(0)
    network = srlab.create_model("esc_lte", scale=2, **narrowed("esc_lte"))
    network.use_backend("reference")
    return network.double().eval()


@pytest.mark.parametrize("size", [(14, 18), (17, 25), (5, 31)], ids=str)
def test_a_network_of_one_scale_is_resized_to_the_exact_size(size):
    image = torch.rand(1, 3, 7, 9, dtype=torch.float64)
    network = Nearest(scale=2)
    expected = network(image)
    if size != (14, 18):
        expected = imresize(expected, size=size, mode="float")
    assert torch.equal(restore(network, image, size=size), expected)


@pytest.mark.parametrize("size", [(23, 210), (9, 120)], ids=str)
def test_exact_tiles_at_any_scale_are_the_whole_image(esc_lte, size):
    """Each side has a factor of its own; that of columns may be below 1."""
    steps = []
    long = 2 * esc_lte.reach().full_halo + 3 * esc_lte.reach().alignment + 5
    image = torch.rand(1, 3, 9, long, dtype=torch.float64)
    tiled = restore(esc_lte, image, size=size, tile=8, exact=True, on_progress=steps.append)
    assert steps[-1].total > 3
    assert_close(tiled, restore(esc_lte, image, size=size), rtol=0, atol=1e-12)
    assert_close(tiled, esc_lte.upsample(image, size), rtol=0, atol=1e-12)


def test_tiles_of_bicubic_are_the_whole_image_and_too_small_ones_are_refused():
    """Where the result is the smaller image, antialiasing reaches beyond the tiles."""
    image = torch.rand(1, 3, 1, 60, dtype=torch.float64)
    tiled = restore(Bicubic(scale=2), image, size=(1, 61), tile=4, exact=True)
    assert_close(tiled, imresize(image, size=(1, 61), mode="float"))
    with pytest.raises(ValueError, match=r"pixels 0 to 0 of 3 need 0 to 49 of the image's 60, and the part"):
        restore(Bicubic(scale=2), image, size=(1, 3), tile=4)


def test_the_ensemble_turns_sizes_with_the_image(esc_lte):
    """A square image to an oblong result; oracle: the eight views by hand."""
    image, size = torch.rand(1, 3, 6, 6, dtype=torch.float64), (13, 20)
    total = torch.zeros(1, 3, *size, dtype=torch.float64)
    with torch.inference_mode():
        for axes in ([], [2], [3], [2, 3]):
            total += esc_lte.upsample(image.flip(axes), size).flip(axes)
            total += esc_lte.upsample(image.mT.flip(axes), size[::-1]).flip(axes).mT
    assert_close(restore(esc_lte, image, size=size, ensemble=True), total / 8)


def listed(scale, lr_size, hr_size):
    """One image, whose LR is MATLAB's bicubic at that size."""
    generator = torch.Generator().manual_seed(0)
    hr_image = torch.randint(0, 256, (3, *hr_size), dtype=torch.uint8, generator=generator)
    sample = {
        "lr_image": imresize(hr_image, size=lr_size, mode="uint8"),
        "hr_image": hr_image,
        **dict.fromkeys(("name", "set_name"), "A"),
        "scale": scale,
        "counted": True,
        "lr_source": "made",
    }
    return ListedSet("A", [sample])


def run(network, dataset, scale, protocols=None):
    return evaluate(network, [dataset], protocols or [basicsr(scale)], scale=scale, device="cpu")


def test_scores_at_any_scale_leave_a_border_of_the_scale_rounded_up():
    dataset = listed(2.7, (20, 23), (54, 62))
    (sample,) = dataset.samples
    report = run(Bicubic(scale=3), dataset, 2.7)
    restored = imresize(sample["lr_image"].float() / 255, size=(54, 62), mode="float")
    expected = score(restored, sample["hr_image"], basicsr(3))
    assert report.means[0].scores["psnr"] == pytest.approx(expected["psnr"].item(), abs=1e-6)
    assert (report.scale, report.resized_from) == (2.7, None)
    assert (report.images[0].height, report.images[0].width) == (54, 62)


def test_a_network_of_one_scale_is_resized_and_the_record_says_so():
    dataset = listed(2.7, (20, 23), (54, 62))
    (sample,) = dataset.samples
    report = run(Nearest(scale=3), dataset, 2.7)
    enlarged = sample["lr_image"].float().repeat_interleave(3, 1).repeat_interleave(3, 2) / 255
    expected = score(imresize(enlarged, size=(54, 62), mode="float"), sample["hr_image"], basicsr(3))
    assert report.means[0].scores["psnr"] == pytest.approx(expected["psnr"].item(), abs=1e-4)
    assert report.resized_from == 3
    with pytest.raises(ValueError, match="the network has scale 3, the data need 2; set scale=3"):
        run(Nearest(scale=3), listed(2, (20, 23), (40, 46)), 2)


def test_bicubic_of_the_luma_is_defined_at_any_scale():
    """The two protocols differ by roundings to 8 bits alone."""
    report = run(Bicubic(scale=3), listed(2.7, (20, 23), (54, 62)), 2.7, [basicsr(2.7), published_y(2.7)])
    ours, published = (mean.scores["psnr"] for mean in report.means)
    assert ours == pytest.approx(published, abs=0.1)


def test_a_border_of_the_scale_follows_the_scale_and_another_stays():
    assert at_scale(basicsr(2), 3.5, own_scale=2) == basicsr(3.5)
    assert at_scale(basicsr(5), 3.5, own_scale=2) == basicsr(5)


def test_input_padding_needs_a_whole_scale(esc_lte):
    image = torch.rand(1, 3, 9, 9, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"padding=swinir_test changes the size .* use padding=model"):
        restore_padded(esc_lte, image, InputPadding.swinir_test, size=(20, 20))
    padded = restore_padded(esc_lte, image, InputPadding.swinir_test, size=(18, 18))
    assert padded.shape == (1, 3, 18, 18)
