"""A run of srlab 0.1.0, whose folder names no version, is loaded, scored and resumed under today's names."""

import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import srlab
from srlab.app.application import register
from srlab.app.keys import misspelt
from srlab.app.renamed_keys import RENAMED_KEYS
from srlab.app.saved_config import load_config
from srlab.runs.contract import SCHEMA_KEY, SCHEMA_VERSION
from srlab.runs.folder import RunFolder
from srlab.runs.records import read_scores
from training_runs import checkpoint, write_photos

RECORDED = Path(__file__).parent / "run_0_1_0"


@pytest.fixture
def run(tmp_path) -> Path:
    """A copy, with the photographs that the run was trained on."""
    shutil.copytree(RECORDED, tmp_path / "run")
    write_photos(tmp_path, training=4, validation=1)
    return tmp_path / "run"


def test_its_network_is_loaded_and_its_scores_are_read():
    network = srlab.load_model(RECORDED)
    saved = checkpoint(RECORDED)["state_dict"]
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, saved[f"network.{key}"], rtol=0, atol=0)
    summary = RunFolder(RECORDED).summary()
    assert summary is not None
    assert read_scores(summary["scores"][0]).keys() == {"psnr", "ssim"}


def test_its_configuration_gets_todays_names():
    cfg = load_config(RECORDED)
    assert SCHEMA_KEY not in cfg
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert cfg.loss_spike_factor == plain["callbacks"]["finite"]["loss_spike_factor"] == 100.0
    assert cfg.loss._target_ == "srlab.losses.l1.L1Loss"
    assert cfg.logger.wandb._target_.startswith("srlab.extensions.wandb.")


@pytest.mark.slow
def test_it_is_resumed_and_saved_under_todays_version(run, train):
    data = [f"data.root={run.parent / 'train'}", f"data.validation_root={run.parent / 'validation'}"]
    words = [f"paths.cache={run.parent / 'cache'}", "logger.wandb.mode=disabled", "trainer.max_steps=4"]
    train(f"resume={run}", *data, *words)
    assert checkpoint(run)["global_step"] == 4
    saved = OmegaConf.load(run / "config.yaml")
    assert saved[SCHEMA_KEY] == SCHEMA_VERSION
    assert "explosion" not in saved


def test_a_folder_of_a_later_version_is_refused_by_name(run):
    config = run / "config.yaml"
    config.write_text(f"{SCHEMA_KEY}: {SCHEMA_VERSION + 1}\n{config.read_text()}")
    with pytest.raises(ValueError, match=rf"{SCHEMA_KEY}={SCHEMA_VERSION + 1} is of a later srlab"):
        load_config(run)


@pytest.mark.parametrize("old", RENAMED_KEYS)
def test_an_old_key_is_answered_with_its_new_name(old):
    register()  # the schemas that compositions need
    expected = [f"{old} was renamed to {RENAMED_KEYS[old]}"]
    assert misspelt([f"{old}=3"], "train") == misspelt([f"+{old}=3"], "train") == expected
