import math

import pytest
import torch
import torch.nn.functional as F

from srlab.losses.charbonnier import CharbonnierLoss
from srlab.losses.l1 import L1Loss


@pytest.fixture
def images():
    return torch.rand(2, 2, 3, 8, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind(
        0
    )


@pytest.mark.parametrize("value_range", [1.0, 255.0])
def test_l1_is_that_of_images_in_the_value_range(images, value_range):
    sr_image, hr_image = images
    expected = F.l1_loss(value_range * sr_image, value_range * hr_image)
    torch.testing.assert_close(L1Loss(value_range=value_range)(sr_image, hr_image), expected)


@pytest.mark.parametrize("value_range", [1.0, 255.0])
def test_charbonnier_is_that_of_images_in_the_value_range(images, value_range):
    sr_image, hr_image = images
    loss = CharbonnierLoss(value_range=value_range, epsilon=1e-3)(sr_image, hr_image)
    expected = (
        math.fsum(math.hypot(value_range * d, 1e-3) for d in (sr_image - hr_image).flatten().tolist())
        / sr_image.numel()
    )
    assert loss.item() == pytest.approx(expected, rel=1e-13)


def test_charbonnier_of_equal_images_is_epsilon_with_zero_gradient():
    sr_image = torch.rand(1, 3, 4, 4, requires_grad=True)
    loss = CharbonnierLoss(value_range=1.0, epsilon=1e-3)(sr_image, sr_image.detach())
    loss.backward()
    assert loss.item() == pytest.approx(1e-3)
    assert sr_image.grad.abs().max() == 0


def test_gradients_grow_with_the_value_range(images):
    gradients = []
    for value_range in (1.0, 255.0):
        sr_image = images[0].clone().requires_grad_()
        L1Loss(value_range=value_range)(sr_image, images[1]).backward()
        gradients.append(sr_image.grad)
    torch.testing.assert_close(gradients[1], 255 * gradients[0])


@pytest.mark.parametrize(
    "loss", [L1Loss(value_range=255.0), CharbonnierLoss(value_range=255.0, epsilon=1e-3)]
)
def test_half_precision_images_give_a_float32_loss(loss):
    sr_image, hr_image = torch.rand(2, 1, 3, 16, 16).to(torch.bfloat16).unbind(0)
    value = loss(sr_image, hr_image)
    assert value.dtype is torch.float32
    torch.testing.assert_close(value, loss(sr_image.float(), hr_image.float()))


@pytest.mark.parametrize("loss", [L1Loss(value_range=1.0), CharbonnierLoss(value_range=1.0, epsilon=1e-3)])
def test_shapes_that_would_broadcast_are_refused(loss):
    with pytest.raises(
        ValueError, match=r"one shape \(no broadcasting\), got \(1, 3, 8, 8\) and \(1, 1, 8, 8\)"
    ):
        loss(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8))


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"value_range must be positive, got 0"):
        L1Loss(value_range=0.0)
    with pytest.raises(ValueError, match=r"epsilon must be positive, got -1"):
        CharbonnierLoss(value_range=1.0, epsilon=-1.0)
