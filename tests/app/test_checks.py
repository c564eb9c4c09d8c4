"""What a run refuses before it learns anything."""

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

import srlab
from srlab.app import scoring
from srlab.app.application import register
from srlab.app.checks import check_config, check_kernels_train, check_scales, check_two_optimizers
from srlab.app.launch import configuration_folder
from srlab.losses.adversarial import AdversarialLoss
from srlab.losses.l1 import L1Loss
from srlab.losses.sharpened import SharpenedReference
from srlab.runs.folder import RunFolder

L1 = L1Loss(value_range=1.0)


@pytest.fixture(scope="module")
def composed():
    """Configurations by the groups that are chosen, each composed once."""
    known = {}

    def of(*groups):
        register()
        if groups not in known:
            with initialize_config_dir(config_dir=str(configuration_folder()), version_base="1.3"):
                known[groups] = compose("train", overrides=list(groups))
        return copy.deepcopy(known[groups])

    return of


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainer.max_steps": "abc"}, "trainer.max_steps must be an integer of at least 1, got 'abc'"),
        ({"validate_every": 0}, "validate_every must be an integer of at least 1, got 0"),
        ({"threads": 0}, "threads must be an integer of at least 1"),
        (
            {"trainer.max_steps": 5, "validate_every": 2},
            "is not a multiple of validate_every=2: .*_every=1",
        ),
        ({"optimizer.lr": "fast"}, "optimizer.lr must be a number"),
        ({"trainer.max_epochs": 3}, "trainer.max_epochs is decided by the run"),
        ({"compile": "fast"}, "compile must be false, true or one of default,"),
        ({"optimizer.fused": "maybe"}, "optimizer.fused must be auto, true or false, got 'maybe'"),
        (
            {"optimizer.fused": True, "trainer.gradient_clip_val": 1.0, "trainer.precision": "bf16-mixed"},
            "optimizer.fused=true cannot be combined with trainer.gradient_clip_val=1.0",
        ),
        ({"trainer.precision": "16-true"}, "trainer.precision=16-true is not supported"),
        ({"trainer.precision": "bf16-true"}, "use 32-true, bf16-mixed or 16-mixed"),
        ({"trainer.precision": 64}, "trainer.precision=64 is not supported"),
        ({"trainer.precision": "transformer-engine"}, "precision=transformer-engine is not supported"),
        ({"sharpness": 2}, r"\+sharpness=… adds an unknown key"),
        ({"data.scale": 3}, "data.scale=3, but scale=2"),
        # as experiment=rcan_x4 has it
        ({"initial_weights": "RUN_OF_X2"}, "give initial_weights=RUN_OR_FILE of it, or initial_weights=null"),
    ],
)
def test_values_that_cannot_work_are_refused(composed, changes, message, tmp_path):
    cfg = composed()
    for key, value in changes.items():
        OmegaConf.update(cfg, key, value, force_add=True)
    with pytest.raises(ValueError, match=message):
        check_config(cfg, RunFolder(tmp_path))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["protocol=published_y"], "bicubic only"),
        (["protocol=[basicsr,rgb]"], "one protocol"),
        (["model=edsr_baseline", "shift_schedule=every"], "no windows to shift"),
        (["model=hit_srf", "shift_schedule=every"], "HiTSR sets model.shift_schedule=none itself"),
    ],
)
def test_choices_that_cannot_work_are_refused(composed, groups, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        check_config(composed(*groups), RunFolder(tmp_path))


def test_graphs_are_refused_without_cuda(composed, tmp_path):
    cfg = composed()
    cfg.compile, cfg.trainer.accelerator = "reduce-overhead", "cpu"
    with pytest.raises(ValueError, match="replays CUDA graphs, and this run trains without CUDA"):
        check_config(cfg, RunFolder(tmp_path))


def test_a_configuration_without_faults_is_accepted(composed, tmp_path):
    check_config(composed(), RunFolder(tmp_path))


@pytest.mark.parametrize("name", ["swinir_light", "esc_light"])
def test_cpu_kernels_do_not_train_and_other_devices_and_back_ends_do(name):
    network = srlab.create_model(name, scale=2, backend="fused")
    with pytest.raises(ValueError, match=r"for inference on a CPU; train with model.backend=auto, sdpa"):
        check_kernels_train(network, torch.device("cpu"))
    check_kernels_train(network, torch.device("cuda"))
    network.use_backend("auto")
    check_kernels_train(network, torch.device("cpu"))


@pytest.mark.parametrize("name", ["elan_light_elsa", "edsr_baseline"])
def test_what_is_made_of_pytorchs_operators_trains_anywhere(name):
    check_kernels_train(srlab.create_model(name, scale=2), torch.device("cpu"))


def test_cpu_kernels_with_gradients_train():
    check_kernels_train(srlab.create_model("elan_demo", scale=2, backend="fused"), torch.device("cpu"))


@pytest.mark.parametrize(
    ("key", "value", "remedy"),
    [
        ("trainer.accumulate_grad_batches", 2, "trainer.accumulate_grad_batches=1"),
        ("trainer.gradient_clip_val", 1.0, "trainer.gradient_clip_val=null"),
        ("trainer.precision", "16-mixed", "trainer.precision=32-true"),
        ("on_nan", "skip", "on_nan=stop"),
    ],
)
def test_what_two_optimizers_do_not_obey_is_refused(composed, key, value, remedy):
    cfg = composed()
    check_two_optimizers(cfg)
    OmegaConf.update(cfg, key, value)
    with pytest.raises(ValueError, match=f"{key}={value} does not work with an adversarial loss.*{remedy}"):
        check_two_optimizers(cfg)


@pytest.mark.parametrize(
    ("name", "changes", "loss", "fault"),
    [
        (
            "edsr_baseline",
            {"data.scale_range": [1, 4]},
            L1,
            r"data\.scale_range=\[1, 4\]: EDSR has one scale",
        ),
        ("edsr_baseline", {"data.validation_scales": [2, 3]}, L1, "EDSR has one scale, x2; leave it out, or"),
        ("bicubic", {"data.scale_range": [1, 4], "compile": True}, L1, "compile=True makes a step for crops"),
        (
            "bicubic",
            {"data.scale_range": [1, 4], "data.compared_pixels": 9},
            SharpenedReference(loss=L1),
            "compared_pixels=9 leaves no image, but single pixels, which SharpenedReference cannot compare",
        ),
        (
            "bicubic",
            {"data.scale_range": [1, 4]},
            AdversarialLoss(weight=0.1, fidelity=L1, discriminator=nn.Identity()),
            r"data\.scale_range=\[1, 4\] does not work with an adversarial loss",
        ),
    ],
)
def test_what_has_one_scale_is_not_trained_at_several(composed, name, changes, loss, fault):
    cfg, network = composed(), srlab.create_model(name, scale=2)
    check_scales(cfg, network, loss)
    for key, value in changes.items():
        OmegaConf.update(cfg, key, value)
    with pytest.raises(ValueError, match=fault):
        check_scales(cfg, network, loss)


@pytest.mark.parametrize(
    ("asked", "scales"), [(None, ()), (2, (2,)), (2.7, (2.7,)), ([2, 3.0, 2.5], (2, 3, 2.5))]
)
def test_scales_are_numbers_and_whole_ones_are_integers(asked, scales):
    found = scoring.asked_scales(OmegaConf.create({"scale": asked}).scale)
    assert found == scales
    assert list(map(type, found)) == list(map(type, scales))


@pytest.mark.parametrize(
    "asked", [0, 0.5, -1, "x2", True, [], [2, 2.0], [2, "3"], [3, -2], float("inf"), float("nan")]
)
def test_what_is_no_scale_is_refused(asked):
    with pytest.raises(ValueError, match="scale must be one or several distinct numbers of at least 1, got"):
        scoring.asked_scales(OmegaConf.create({"scale": asked}).scale)


def test_another_scale_of_a_checkpoint_is_refused_before_the_first_is_scored(monkeypatch):
    loaded = SimpleNamespace(network=srlab.create_model("edsr_baseline", scale=2, dim=4, depth=1))
    monkeypatch.setattr(scoring, "read_checkpoint", lambda _path: loaded)
    monkeypatch.setattr(scoring, "refuse_overrides", lambda _names, _reason: None)
    candidates = scoring._from_checkpoint(OmegaConf.create({"overrides": {}}), Path("run.ckpt"), (2, 2.5, 3))
    with pytest.raises(ValueError, match=r"scale=3, but run\.ckpt holds a x2 network; leave scale out"):
        next(candidates)
