"""EchoSR against recorded outputs of the official code."""

import os
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

import srlab
from evaluation_sets import benchmark
from golden_files import Golden, load_golden
from official_networks import (
    assert_recorded_outputs,
    assert_recorded_state,
    assert_recorded_step,
    assumed,
    detect,
    deviation,
    rebuild,
)
from protocols import basicsr
from srlab.models.echosr import EchoSR
from srlab.tasks.evaluation import evaluate

SMALL = {"scale": 2, "dim": 12, "depths": [1], "kernel_sides": [5, 11, 17], "mlp_ratio": 1.5, "dropout": 0.1}


def small(**overrides):
    torch.manual_seed(0)
    return EchoSR(**{**SMALL, **overrides})


@pytest.fixture
def golden() -> Golden:
    return load_golden("echosr/echosr_x2.npz")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_whole_network_gives_the_official_output(golden, dtype):
    network = rebuild(EchoSR, golden).to(dtype)
    assert_recorded_outputs(network, golden, dtype, levels=256)


def test_the_first_block_gives_the_official_output(golden):
    network = rebuild(EchoSR, golden).double()
    lr_image = golden.arrays["x0"].double() / 256
    with torch.no_grad():
        block = network.groups[0].blocks[0](network.conv_first(lr_image - network.mean))
    assert deviation(block, golden.arrays["m/block"]) <= 1e-9


def test_a_training_step_has_the_official_loss_and_gradients(golden):
    assert_recorded_step(rebuild(EchoSR, golden, dropout=0.0), golden)


def test_detected_arguments_and_sizes_are_the_recorded_ones(golden):
    arguments = detect(EchoSR, golden.weights())
    assert arguments is not None
    assert {key: arguments[key] for key in SMALL} == {**SMALL, "depths": [1, 2]}
    assert assumed(EchoSR, golden.weights()) == ("dropout", "mean", "value_range")
    network = rebuild(EchoSR, golden)
    assert_recorded_state(network, golden)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 17)])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_size_is_enlarged_exactly(size, scale):
    network = small(scale=scale)
    sr_image = network(torch.rand(2, 3, *size))
    assert sr_image.shape == (2, 3, scale * size[0], scale * size[1])
    assert sr_image.isfinite().all()
    sr_image.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_images_of_a_batch_are_independent():
    network, lr_images = small().eval(), torch.rand(2, 3, 9, 17)
    with torch.no_grad():
        assert_close(network(lr_images)[1:], network(lr_images[1:]))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"dim": 10}, r"dim=10 must be a multiple of 4"),
        ({"mlp_ratio": 1.4}, r"mlp_ratio=1.4 gives 16 hidden channels; they must be a multiple of 6"),
        ({"kernel_sides": [5, 11]}, r"kernel_sides=\[5, 11\] must be three odd sides"),
        ({"kernel_sides": [5, 10, 17]}, r"kernel_sides=\[5, 10, 17\] must be three odd sides"),
        ({"depths": []}, r"depths must be a list of at least one integer"),
    ],
)
def test_impossible_arguments_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        small(**overrides)


@pytest.mark.slow
def test_published_weights_score_what_the_paper_prints(real_images):
    path = Path(os.environ.get("SRLAB_WEIGHTS") or "") / "EchoSR_x4_light_Div2K.pth"
    if not os.environ.get("SRLAB_WEIGHTS") or not path.is_file():
        pytest.skip(f"needs {path.name} of github.com/funnyWang-Echoes/EchoSR in the folder SRLAB_WEIGHTS")
    sets = [benchmark(real_images, "Set5", 4)]
    report = evaluate(srlab.load_model(path), sets, [basicsr(4)], scale=4, device="cpu")
    (mean,) = report.means
    assert mean.scores["psnr"] == pytest.approx(32.556, abs=0.0005)
    assert mean.scores["ssim"] == pytest.approx(0.8995, abs=1e-4)
