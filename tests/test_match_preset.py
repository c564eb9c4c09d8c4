"""Which preset a network is, from what a checkpoint says of it."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from srlab.app.presets import (
    configuration_folder,
    list_models,
    list_named_recipes,
    list_recipes,
    match_preset,
)


def arguments(name, scale=4):
    with initialize_config_dir(str(configuration_folder()), version_base="1.3"):
        return OmegaConf.to_container(
            compose("network", [f"model={name}", f"scale={scale}"]).model, resolve=True
        )


@pytest.mark.parametrize("name", list_models())
def test_every_preset_is_found_again(name):
    assert match_preset(arguments(name)) == name


@pytest.mark.parametrize(
    "change",
    [{"backend": "reference"}, {"window_sizes": (4, 8, 16)}, {"scale": 3}, {"_convert_": "none"}],
)
def test_what_does_not_change_the_function_is_ignored(change):
    assert match_preset({**arguments("elan_light"), **change}) == "elan_light"


def test_drop_path_is_ignored_too():
    assert match_preset({**arguments("swinir_light"), "drop_path": 0.0}) == "swinir_light"


@pytest.mark.parametrize("change", [{"shift_schedule": "none"}, {"window_sizes": [8, 8, 8]}, {"n_share": 0}])
def test_another_function_is_no_preset(change):
    assert match_preset({**arguments("elan_light"), **change}) is None


def test_arguments_with_a_default_may_be_absent():
    model = arguments("elan_light")
    del model["backend"]
    assert match_preset(model) == "elan_light"


def test_recipes_with_names_are_those_of_the_longest_preset_that_fits():
    assert list_named_recipes("esc_lte") == ["esc_lte"]
    assert list_named_recipes("esc_real") == ["esc_real_gan_x4", "esc_real_psnr_x4"]
    assert list_named_recipes("esc") == list_named_recipes("elan") == []


def test_recipes_are_those_of_the_preset_itself():
    assert list_recipes("elan_light") == [2, 3, 4]
    assert 2 not in list_recipes("elan_demo")
    assert all(
        (configuration_folder() / "experiment" / f"elan_x{s}.yaml").is_file() for s in list_recipes("elan")
    )
