"""Both stages of esc_real by train.py, at a tiny width and with random weights of VGG-19."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import srlab
from training_runs import ROOT, SMALL, assert_same_state, checkpoint, curve, weights
from vgg_weights import write_random_vgg19

TINY = [
    *("model.dim=8", "model.mixed_dim=4", "model.depth=1", "model.steps_per_block=1", "model.window_size=4"),
    *("model.num_heads=2", "scale=4", "degradation.margin=8", "validate_every=2"),
]
FEATURES = "loss.fidelity.loss.terms.features"


@pytest.fixture
def adversarial(tmp_path) -> list[str]:
    """Overrides of the second stage: two layers of VGG-19, of a file of random weights."""
    file = tmp_path / "vgg19.pth"
    return [
        *("experiment=esc_real_gan_x4", *TINY, "loss.discriminator.dim=4"),
        *(f"{FEATURES}.file={file}", f"{FEATURES}.sha256={write_random_vgg19(file, last=7)}"),
        *(f"~{FEATURES}.layers.{name}" for name in ("conv3_4", "conv4_4", "conv5_4")),
    ]


def in_two_processes(photos: Path, folder: Path, *overrides: str) -> Path:
    data = ["data=folder", f"data.root={photos / 'train'}", f"data.validation_root={photos / 'validation'}"]
    small = [word for word in SMALL if word != "scale=2"]
    words = [*small, *data, *overrides, f"hydra.run.dir={folder}", f"paths.cache={folder.parent / 'cache'}"]
    command = [sys.executable, str(ROOT / "train.py"), *words, "trainer.devices=2"]
    subprocess.run(command, check=True, timeout=300, cwd=folder.parent)
    return folder


@pytest.mark.slow
def test_both_stages_run_and_the_second_resumes_and_is_shared_out_without_a_difference(
    train, photos, tmp_path, adversarial
):
    """Stopped and resumed: bit for bit. On two processes: up to the rounding of sums in another order."""
    first = train("experiment=esc_real_psnr_x4", *TINY, "trainer.max_steps=2", into="first", network=())
    adversarial.append(f"initial_weights={first}")
    whole = train(*adversarial, "trainer.max_steps=4", into="whole", network=())
    halves = train(*adversarial, "trainer.max_steps=2", into="halves", network=())
    train(f"resume={halves}", "trainer.max_steps=4", into="halves")
    assert_same_state(whole, halves)
    assert curve(whole) == curve(halves)
    state = checkpoint(whole)
    assert len(state["optimizer_states"]) == 2
    assert not [key for key in state["state_dict"] if "features" in key]
    assert any(key.startswith("loss.discriminator.") for key in state["state_dict"])
    assert type(srlab.load_model(whole)).__name__ == "EscReal"

    two = in_two_processes(photos, tmp_path / "two", *adversarial, "trainer.max_steps=4")
    for row, other in zip(curve(two), curve(whole), strict=True):
        for key in ("train/loss", "train/discriminator_loss"):
            assert float(row[key]) == pytest.approx(float(other[key]), rel=1e-5)
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(two)[name], value, rtol=1e-5, atol=2e-5, msg=name)
