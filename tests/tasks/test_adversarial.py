"""The loop of two optimizers against the same steps written out."""

import copy
from functools import partial

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.data import DataLoader

import srlab
from protocols import rgb
from srlab.losses.adversarial import AdversarialLoss
from srlab.losses.l1 import L1Loss
from srlab.losses.unet_discriminator import UNetDiscriminator
from srlab.tasks.adversarial import AdversarialTask
from srlab.tasks.optimization import multistep

STEPS, RATE = 4, 0.05


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(0)
    return [
        {
            name: torch.randint(0, 256, (2, 3, side, side), generator=generator, dtype=torch.uint8)
            for name, side in (("lr_image", 8), ("hr_image", 16))
        }
        for _ in range(STEPS)
    ]


def by_hand(network: nn.Module, loss: AdversarialLoss, batches: list[dict]) -> list[float]:
    """Backward passes of PyTorch, gradients of the other network discarded; the rate is halved after two."""
    optimizers = [torch.optim.SGD(each.parameters(), RATE) for each in (network, loss.discriminator)]
    losses = []
    for number, batch in enumerate(batches):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = RATE * (0.5 if number >= 2 else 1)
        sr_image, hr_image = network(batch["lr_image"] / 255), batch["hr_image"] / 255
        value = loss.fidelity(sr_image, hr_image)
        value = value + 0.5 * nn.functional.softplus(-loss.discriminator(sr_image)).mean()
        network.zero_grad()
        value.backward()
        optimizers[0].step()
        loss.discriminator.zero_grad()
        other = nn.functional.softplus(-loss.discriminator(hr_image)).mean()
        other = other + nn.functional.softplus(loss.discriminator(sr_image.detach())).mean()
        other.backward()
        optimizers[1].step()
        losses.append(value.item())
    return losses


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_trains_the_network_then_the_discriminator_and_counts_once(batches, fused):
    """A fused step pairs gradients with parameters by their places in memory, whatever their strides."""
    torch.manual_seed(0)
    network = srlab.create_model("edsr_baseline", scale=2, dim=4, depth=1)
    discriminator = UNetDiscriminator(dim=4)
    loss = AdversarialLoss(weight=0.5, fidelity=L1Loss(value_range=1.0), discriminator=discriminator)
    expected_network, expected_loss = copy.deepcopy(network), copy.deepcopy(loss)
    task = AdversarialTask(
        network=network,
        loss=loss,
        protocol=rgb(2),
        build_optimizer=partial(torch.optim.SGD, lr=RATE, fused=fused),
        build_scheduler=partial(multistep, milestones=[2], gamma=0.5),
        compile_mode=None,
        record={},
    )
    trainer = Trainer(
        accelerator="cpu", max_steps=STEPS, max_epochs=-1, limit_val_batches=0, log_every_n_steps=1,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(task, DataLoader(batches, batch_size=None))
    losses = by_hand(expected_network.train(), expected_loss.train(), batches)
    assert trainer.global_step == STEPS
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(losses[-1], rel=1e-5)
    for ours, theirs in ((network, expected_network), (loss, expected_loss)):
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-5, atol=1e-6)
