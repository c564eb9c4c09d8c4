"""W&B's own variables take precedence over the presets, and the command line over both."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from srlab.app.application import register
from srlab.app.presets import configuration_folder
from srlab.app.saved_config import load_config, save_config
from srlab.extensions.wandb.logger import TolerantWandbLogger

VARIABLES = {
    "WANDB_PROJECT": "theirs", "WANDB_ENTITY": "lab", "WANDB_NAME": "first try", "WANDB_RUN_GROUP": "group",
    "WANDB_RUN_ID": "abc", "WANDB_TAGS": "one, two", "WANDB_MODE": "disabled", "WANDB_DIR": "/logs",
}  # fmt: skip
KEYS = ("project", "entity", "name", "group", "id", "tags", "mode", "save_dir")


@pytest.fixture
def composed(monkeypatch):
    """A configuration as train.py gets it, with these variables alone."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def of(*overrides: str, variables=None):
        for name, value in (variables or {}).items():
            monkeypatch.setenv(name, value)
        register()
        with initialize_config_dir(config_dir=str(configuration_folder()), version_base="1.3"):
            return compose("train", overrides=[*overrides, "paths.run=/run", "paths.name=n"])

    return of


def chosen(cfg) -> dict[str, object]:
    return {key: OmegaConf.to_container(cfg.logger.wandb, resolve=True)[key] for key in KEYS}


def test_without_variables_the_preset_decides(composed):
    assert chosen(composed()) == {
        "project": "srlab", "entity": None, "name": "n", "group": None, "id": None, "tags": [],
        "mode": "offline", "save_dir": "/run",
    }  # fmt: skip


def test_variables_come_before_the_preset(composed):
    cfg = composed(variables=VARIABLES)
    assert chosen(cfg) == {
        "project": "theirs", "entity": "lab", "name": "first try", "group": "group", "id": "abc",
        "tags": ["one", "two"], "mode": "disabled", "save_dir": "/logs",
    }  # fmt: skip


def test_the_command_line_comes_before_variables(composed):
    typed = [f"logger.wandb.{key}=typed" for key in KEYS if key not in ("tags", "mode")]
    cfg = composed(*typed, "logger.wandb.tags=[typed]", "logger.wandb.mode=online", variables=VARIABLES)
    assert set(map(str, chosen(cfg).values())) == {"typed", "['typed']", "online"}


def test_empty_variables_count_as_unset(composed):
    cfg = composed(variables=dict.fromkeys(VARIABLES, ""))
    assert [chosen(cfg)[key] for key in ("project", "tags", "mode", "save_dir")] == [
        "srlab", [], "offline", "/run",
    ]  # fmt: skip


def test_a_run_keeps_what_finds_it_and_obeys_the_mode_of_each_call(composed, tmp_path, monkeypatch):
    cfg = composed(variables=VARIABLES)
    cfg.logger.wandb.id = "kept"
    save_config(cfg, tmp_path)
    monkeypatch.setenv("WANDB_PROJECT", "another")
    monkeypatch.setenv("WANDB_TAGS", "another")
    monkeypatch.setenv("WANDB_MODE", "online")
    resumed = chosen(load_config(tmp_path))
    assert (resumed["project"], resumed["tags"], resumed["id"]) == ("theirs", ["one", "two"], "kept")
    assert resumed["mode"] == "online"


def test_a_mode_that_does_not_exist_is_refused_by_the_name_of_the_variable(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "of")
    names = {"project": "p", "name": "n", "id": None, "group": None, "tags": []}
    with pytest.raises(ValueError, match=r"offline, disabled, got 'of' \(from WANDB_MODE\)"):
        TolerantWandbLogger(**names, save_dir="x", mode="of", init_timeout_s=1, finish_timeout_s=1)
