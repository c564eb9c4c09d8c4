"""srlab import: option files of other programs become command lines that Hydra composes and that train."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

from image_files import save_noise
from option_files import ESC, KAIR, REDUX, SWINIR_LIGHT
from srlab.app.application import register
from srlab.app.presets import configuration_folder
from srlab.extensions.console.main import main
from srlab.extensions.import_options.command import command_of, import_file
from srlab.extensions.import_options.reading import Options
from tiny_runs import train


def imported(tmp_path: Path, text: str, suffix: str = ".yml") -> tuple[Options, DictConfig]:
    """What is found, and the configuration that the printed command composes to."""
    path = tmp_path / f"options{suffix}"
    path.write_text(text.format(root=tmp_path))
    options = import_file(path)
    program, script, *words = shlex.split(command_of(options))
    assert (program, script) == ("python", "train.py")
    register()
    with initialize_config_dir(str(configuration_folder()), version_base="1.3"):
        return options, compose("train", overrides=words)


def test_swinir_light_of_basicsr(tmp_path: Path):
    options, cfg = imported(tmp_path, SWINIR_LIGHT)
    assert (options.overrides["model"], cfg.scale, cfg.seed) == ("swinir_light", 2, 7)
    assert not [key for key in options.overrides if key.startswith("model.")]
    data = cfg.data
    assert (data.patch_size, data.batch_size, data.num_workers, data.lr_name) == (64, 32, 6, "{}x2")
    assert data.hr_root == [f"{tmp_path}/HR", f"{tmp_path}/HR2"]
    assert data.lr_root == [f"{tmp_path}/LR", f"{tmp_path}/LR2"]
    assert data.validation_lr_root == f"{tmp_path}/Set5/LRbicx2"
    assert (cfg.trainer.devices, cfg.trainer.max_steps, cfg.validate_every) == (4, 500_000, 5000)
    assert (cfg.optimizer.lr, cfg.optimizer.betas) == (2e-4, [0.9, 0.99])
    assert (cfg.scheduler.milestones, cfg.scheduler.warmup) == ([250_000, 400_000], 0)
    assert (cfg.callbacks.ema.decay, cfg.loss.value_range) == (0.999, 1.0)
    assert "tensorboard" in cfg.logger
    assert list(cfg.protocol) == ["basicsr"]
    assert options.unmatched == {
        "datasets.val_1.dataroot_gt": f"{tmp_path}/Set14/GTmod12",
        "train.perceptual_opt.type": "PerceptualLoss",
        "train.perceptual_opt.perceptual_weight": 1.0,
    }
    assert any("Set5" in note and "is a test set" in note for note in options.notes)


def test_esc_of_basicsr_is_its_own_recipe(tmp_path: Path):
    options, cfg = imported(tmp_path, ESC)
    with initialize_config_dir(str(configuration_folder()), version_base="1.3"):
        recipe = compose("train", overrides=["experiment=esc_x4"])
    for group in ("model", "loss", "scheduler", "optimizer"):
        assert cfg[group] == recipe[group]
    assert (cfg.data.patch_size, cfg.data.batch_size) == (recipe.data.patch_size, recipe.data.batch_size)
    assert cfg.initial_weights == f"{tmp_path}/esc_x2.pth"
    assert any("strict_load_g: false has no counterpart" in note for note in options.notes)
    assert options.unmatched == {}


def test_swinir_of_trainner_redux(tmp_path: Path):
    options, cfg = imported(tmp_path, REDUX)
    assert options.overrides["model"] == "swinir_light"
    assert (cfg.data.batch_size, cfg.trainer.accumulate_grad_batches, cfg.trainer.devices) == (4, 2, 1)
    assert (cfg.trainer.precision, cfg.matmul_precision) == ("bf16-mixed", "high")
    assert cfg.trainer.max_steps % cfg.validate_every == 0
    assert any("num_gpu: auto" in note for note in options.notes)
    assert cfg.loss._target_.endswith("CharbonnierLoss")
    assert options.unmatched == {
        "train.losses ldlloss": {"type": "ldlloss", "loss_weight": 0.5},
        "val.tile_size": 0,
    }


def test_swinir_light_of_kair_is_its_own_recipe(tmp_path: Path):
    options, cfg = imported(tmp_path, KAIR, ".json")
    with initialize_config_dir(str(configuration_folder()), version_base="1.3"):
        recipe = compose("train", overrides=["experiment=swinir_light_x2"])
    for group in ("model", "loss", "scheduler", "optimizer", "callbacks"):
        assert cfg[group] == recipe[group]
    assert (cfg.data.patch_size, cfg.data.batch_size) == (recipe.data.patch_size, recipe.data.batch_size)
    assert (cfg.trainer.max_steps, cfg.validate_every) == (500_000, 5000)
    assert (cfg.data.root, cfg.data.validation_root) == (f"{tmp_path}//HR", f"{tmp_path}/valid")
    assert options.unmatched == {"path.pretrained_netE": None, "train.G_optimizer_reuse": True}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("type: swinir_s", "type: hat_l", "there is no network 'hat_l' here; there are .*swinir_light"),
        ("type: swinir_s", "type: swinir_s, upscale: 4", "upscale=4, but scale=2"),
        ("type: swinir_s", "type: swinir_s, in_chans: 1", "in_chans=1: networks here have three colours"),
        ("dataroot_gt: [{root}/HR]", "dataroot_gt: [{root}/HR.lmdb]", "LMDB files are not read"),
        ("total_iter: 100000", "x: 1", "must say train.total_iter"),
        ("network_g:", "network:", "has no network_g .* or netG"),
    ],
)
def test_what_cannot_be_trained_here_is_refused(tmp_path: Path, capsys, old: str, new: str, message: str):
    assert old in REDUX
    (tmp_path / "a.yml").write_text(REDUX.replace(old, new).format(root=tmp_path))
    assert main(["import", str(tmp_path / "a.yml")]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_the_verb_prints_command_notes_and_what_is_missing(tmp_path: Path, capsys):
    (tmp_path / "a.yml").write_text(REDUX.format(root=tmp_path) + "mixup: true\n")
    assert main(["import", str(tmp_path / "a.yml")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(
        "python train.py model=swinir_light data=paired loss=charbonnier optimizer=adamw"
    )
    assert "\nwithout counterpart:\n" in printed
    assert "  mixup: True\n" in printed


def test_types_that_decide_more_than_their_keys_are_reported(tmp_path: Path):
    text = REDUX.replace("pairedimagedataset", "realesrgandataset").replace("MultiStepLR", "OneCycleLR")
    (tmp_path / "a.yml").write_text(text.format(root=tmp_path) + "model_type: SRGANModel\n")
    unmatched = import_file(tmp_path / "a.yml").unmatched
    assert unmatched["datasets.train.type"] == "realesrgandataset"
    assert unmatched["train.scheduler.type"] == "OneCycleLR"
    assert unmatched["model_type"] == "SRGANModel"


@pytest.mark.slow
def test_an_imported_command_trains(tmp_path: Path):
    for seed, name in enumerate("abcd"):
        pixels = save_noise(tmp_path / f"HR/{name}.png", 48, 40, 3, seed=seed)
        (tmp_path / "LR").mkdir(exist_ok=True)
        Image.fromarray(pixels[::2, ::2]).save(tmp_path / f"LR/{name}x2.png")
    (tmp_path / "a.yml").write_text(REDUX.format(root=tmp_path))
    words = shlex.split(command_of(import_file(tmp_path / "a.yml")))[2:]
    small = ["model.dim=12", "model.depths=[2]", "model.num_heads=[2]", "latency.output_size=[32,32]"]
    short = ["trainer.max_steps=2", "validate_every=2", "scheduler.milestones=[1]", "trainer.accelerator=cpu"]
    run = tmp_path / "run"
    train(*words, *small, *short, f"paths.cache={tmp_path}/cache", f"hydra.run.dir={run}")
    assert (run / "summary.json").exists()
