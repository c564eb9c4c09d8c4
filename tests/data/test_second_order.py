from dataclasses import asdict, replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import OmegaConf
from skimage.data import astronaut
from torch.utils.data import DataLoader

from srlab.app.launch import configuration_folder
from srlab.data.crop_scales import FixedScale
from srlab.data.known_sets import demo_photographs
from srlab.data.random_steps import RandomResize
from srlab.data.sampling import degradation_random
from srlab.data.second_order import SecondOrderDegradation
from srlab.data.store import open_store
from srlab.data.training_crops import TrainingCrops


@pytest.fixture(scope="module")
def official() -> SecondOrderDegradation:
    return instantiate(OmegaConf.load(configuration_folder() / "degradation/second_order.yaml"))


@pytest.fixture(scope="module")
def plain(official) -> SecondOrderDegradation:
    """Nothing but two resizes and JPEG at quality 100."""
    kept = RandomResize(up=0, down=0, factors=[1, 1])
    rounds = {}
    for name, each in (("first", official.first), ("second", official.second)):
        blur = replace(each.blur, probability=0)
        noise = replace(each.noise, gaussian=1, gaussian_sigma=[0, 0])
        rounds[name] = replace(each, blur=blur, noise=noise, resize=kept, jpeg_quality=[100, 100])
    low_pass = replace(official.low_pass, probability=0)
    return SecondOrderDegradation(margin=16, sharpen=False, low_pass=low_pass, jpeg_last=0.5, **rounds)


@pytest.fixture(scope="module")
def window():
    return np.ascontiguousarray(astronaut()[40:168, 160:288].transpose(2, 0, 1))


def one_of(degradation, window, index=0, scale=4):
    return degradation(window[None], scale, lambda _: degradation_random(0, index))[0]


def test_the_preset_has_the_official_ranges_and_probabilities(official):
    """Transcribed from Real-ESRGAN's options and data set."""
    rounds = [asdict(each) for each in (official.first, official.second)]
    shares = [[each["resize"]["up"], each["resize"]["down"]] for each in rounds]
    assert shares == [[0.2, 0.7], [0.3, 0.4]]
    assert [each["resize"]["factors"] for each in rounds] == [[0.15, 1.5], [0.3, 1.2]]
    assert [each["blur"]["probability"] for each in rounds] == [1.0, 0.8]
    assert [each["blur"]["sigma"] for each in rounds] == [[0.2, 3], [0.2, 1.5]]
    assert [each["noise"]["gaussian_sigma"] for each in rounds] == [[1, 30], [1, 25]]
    assert [each["noise"]["poisson_scale"] for each in rounds] == [[0.05, 3], [0.05, 2.5]]
    for each in rounds:
        assert list(each["blur"]["kinds"].values()) == [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
        assert (each["blur"]["generalized_shape"], each["blur"]["plateau_shape"]) == ([0.5, 4], [1, 2])
        assert each["blur"]["sinc"]["probability"] == 0.1
        assert (each["noise"]["gaussian"], each["noise"]["gray"]) == (0.5, 0.4)
        assert each["jpeg_quality"] == [30, 95]
    assert (official.low_pass.probability, official.jpeg_last) == (0.8, 0.5)
    assert official.context(4) == (400 - 256) // 2


def test_without_its_random_steps_it_is_a_resize(plain, window):
    """PyTorch's, by one of three modes, up to the colours that JPEG averages and its rounding."""
    made = one_of(plain, window).astype(int)
    assert made.shape == (3, 24, 24)
    image = torch.from_numpy(window)[None].float()
    errors = [
        np.abs(made - F.interpolate(image, (32, 32), mode=mode)[0, :, 4:-4, 4:-4].numpy()).mean()
        for mode in ("area", "bilinear", "bicubic")
    ]
    assert min(errors) < 4
    assert max(errors) > 2 * min(errors)


def test_sharpening_comes_first(plain, window):
    from srlab.ops.sharpen import unsharp_mask

    sharp = unsharp_mask(torch.from_numpy(window)[None].float() / 255)[0]
    by_hand = (sharp * 255).round().byte().numpy()
    difference = one_of(replace(plain, sharpen=True), window).astype(int) - one_of(plain, by_hand)
    assert np.abs(difference).max() <= 3
    assert np.abs(one_of(plain, window).astype(int) - one_of(plain, by_hand)).mean() > 1


@pytest.mark.parametrize("is_last", [True, False])
def test_jpegs_blocks_are_those_of_lr_if_it_comes_last(plain, window, is_last):
    """Steps between columns 7 and 8, 15 and 16 … are larger than others; a low pass takes from them."""
    rough = replace(plain.second, jpeg_quality=[3, 3])
    low_pass = replace(plain.low_pass, probability=1, cutoffs=[[7, 1 / 3]])
    degradation = replace(plain, margin=0, second=rough, low_pass=low_pass, jpeg_last=float(is_last))
    wide = np.tile(window, (1, 2, 2))
    steps = np.mean(
        [np.abs(np.diff(one_of(degradation, wide, i).astype(float))).mean((0, 1)) for i in range(8)], axis=0
    )
    ratio = steps[7::8].mean() / np.delete(steps, np.s_[7::8]).mean()
    assert (ratio > 2.6) == is_last


def test_samples_depend_on_seed_and_index_alone(official, tmp_path):
    """In any order, alone or in a batch, in this process or a loader's."""
    store = open_store(demo_photographs("train"), cache=tmp_path, on_bad_image="error")
    crops = TrainingCrops(
        store=store, scales=FixedScale(scale=4, patch_size=8), seed=3, augment=True, on_bad_image="error",
        degradation=replace(official, margin=8), degrade_on="worker",
    )  # fmt: skip
    alone = [crops[index]["lr_image"] for index in (5, 2, 0, 1, 4, 3)]
    expected = dict(zip((5, 2, 0, 1, 4, 3), alone, strict=True))
    assert torch.equal(crops.batch(range(6))["lr_image"], torch.stack([expected[i] for i in range(6)]))
    for index, batch in enumerate(DataLoader(crops, sampler=range(6), batch_size=1, num_workers=1)):
        assert torch.equal(batch["lr_image"][0], expected[index])
    assert len({image.numpy().tobytes() for image in alone}) == 6


def test_samples_of_one_window_differ_by_index_and_stay_near_it(official, plain, window):
    small = replace(official, margin=16)
    made = small(np.stack([window] * 12), 4, partial(degradation_random, 0)).astype(int)
    assert len({image.tobytes() for image in made}) == 12
    error = np.abs(made - one_of(plain, window)).mean(axis=(1, 2, 3))
    assert 3 < error.mean() < 40
    assert abs((made - one_of(plain, window)).mean()) < 5


def test_a_scale_that_is_not_whole_is_refused(official):
    with pytest.raises(ValueError, match=r"makes LR at whole scales; leave data\.scale_range out"):
        official.context(Fraction(5, 2))


def test_a_margin_below_zero_is_refused(official):
    with pytest.raises(ValueError, match=r"margin must be 0 or more HR pixels, got -4"):
        replace(official, margin=-4)
