"""Both stages of esc_real by train.py, at a tiny width and with random weights of VGG-19."""

import pytest

import srlab
from training_runs import assert_same_state, checkpoint, curve
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


@pytest.mark.slow
def test_both_stages_run_and_the_second_resumes_bit_for_bit(train, adversarial):
    """Oracle: the run that never stopped; the state of both optimizers, too."""
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
