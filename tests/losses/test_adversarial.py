import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from srlab.losses.adversarial import AdversarialLoss
from srlab.losses.l1 import L1Loss
from srlab.losses.unet_discriminator import UNetDiscriminator


class MeanGray(nn.Module):
    """A discriminator in closed form: logits are 4 (mean - 0.5)."""

    def forward(self, images):
        return 4 * (images.mean(dim=(1, 2, 3)) - 0.5)


@pytest.fixture
def images():
    return torch.rand(2, 2, 3, 16, 24, generator=torch.Generator().manual_seed(0)).unbind(0)


def test_losses_are_binary_cross_entropies(images):
    sr_image, hr_image = images[0] * 0.5, images[1]
    loss = AdversarialLoss(weight=0.3, fidelity=L1Loss(value_range=2.0), discriminator=MeanGray())
    restored, real = MeanGray()(sr_image), MeanGray()(hr_image)
    cross_entropy = F.binary_cross_entropy_with_logits
    expected = 2 * F.l1_loss(sr_image, hr_image) + 0.3 * cross_entropy(restored, torch.ones(2))
    torch.testing.assert_close(loss(sr_image, hr_image), expected)
    expected = cross_entropy(real, torch.ones(2)) + cross_entropy(restored, torch.zeros(2))
    torch.testing.assert_close(loss.of_discriminator(sr_image, hr_image), expected)


def test_the_discriminators_loss_has_no_gradient_for_the_network(images):
    sr_image = images[0].clone().requires_grad_()
    discriminator = UNetDiscriminator(dim=4)
    loss = AdversarialLoss(weight=1.0, fidelity=L1Loss(value_range=1.0), discriminator=discriminator)
    loss.of_discriminator(sr_image, images[1]).backward()
    assert sr_image.grad is None
    assert all(parameter.grad.abs().sum() > 0 for parameter in discriminator.parameters())


def test_it_has_the_parameters_of_the_official_one():
    """Counted by hand for c channels: 3x3 and 4x4 convolutions, biases in the first and last alone."""
    down = {c: 16 * (2 + 8 + 32) * c * c for c in (8, 64)}
    up = {c: 9 * (32 + 8 + 2 + 1 + 1) * c * c for c in (8, 64)}
    expected = {c: (27 * c + c) + down[c] + up[c] + (9 * c + 1) for c in (8, 64)}
    assert expected[64] == 4_376_897  # the reference's
    assert sum(each.numel() for each in UNetDiscriminator(dim=8).parameters()) == expected[8]


def test_normalized_convolutions_have_the_spectral_norm_one(images):
    """Oracle: NumPy's singular values, after power iterations have converged."""
    discriminator = UNetDiscriminator(dim=4).train()
    for _ in range(40):
        discriminator(images[0])
    normalized = [*discriminator.down, *discriminator.up, *discriminator.tail]
    discriminator.eval()
    for convolution in normalized:
        matrix = convolution.weight.detach().flatten(1).numpy()
        assert np.linalg.svd(matrix, compute_uv=False)[0] == pytest.approx(1, abs=0.02)


def test_it_is_a_u_net(images):
    """Oracle: the same convolutions written out, with skips after each halving."""
    network = UNetDiscriminator(dim=4).eval()

    def act(x, convolution):
        return F.leaky_relu(
            F.conv2d(x, convolution.weight, convolution.bias, convolution.stride, convolution.padding), 0.2
        )

    def double(x):
        return F.interpolate(x, scale_factor=2, mode="bilinear")

    x0 = act(images[0], network.first)
    x1 = act(x0, network.down[0])
    x2 = act(x1, network.down[1])
    x3 = act(x2, network.down[2])
    y = act(double(x3), network.up[0]) + x2
    y = act(double(y), network.up[1]) + x1
    y = act(double(y), network.up[2]) + x0
    y = act(act(y, network.tail[0]), network.tail[1])
    expected = F.conv2d(y, network.last.weight, network.last.bias, padding=1)
    torch.testing.assert_close(network(images[0]), expected)
    assert expected.shape == (2, 1, 16, 24)


def test_sizes_that_cannot_be_halved_three_times_are_refused():
    with pytest.raises(ValueError, match=r"halves its images three times, got 16x20: set a data.patch_size"):
        UNetDiscriminator(dim=4)(torch.zeros(1, 3, 16, 20))


def test_a_weight_of_zero_is_refused():
    with pytest.raises(ValueError, match="weight must be positive, got 0"):
        AdversarialLoss(weight=0.0, fidelity=nn.L1Loss(), discriminator=MeanGray())
