"""Every file in conf/data and conf/degradation builds what it names, without looking at a disk."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict

from srlab.app.application import register
from srlab.app.presets import configuration_folder
from srlab.data.datamodule import SuperResolutionData
from srlab.data.datasets import df2k, div2k
from srlab.data.degradation import BicubicDegradation

CONF = configuration_folder()


def composed(data: str, degradation: str = "bicubic") -> DictConfig:
    """The data node of a training configuration."""
    register()
    root = ["data.root=nowhere"] if data in ("folder", "images", "unreferenced") else []
    root += ["data.hr_root=nowhere", "data.lr_root=nowhere"] if data == "paired" else []
    where = ["scale=3", "seed=5", "paths.data=nowhere", "paths.cache=nowhere/cache"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(
            "train", [f"data={data}", f"degradation={degradation}", "budget=demo", *where, *root]
        ).data


CHOICES = [
    (path.stem, degradation)
    for path in sorted((CONF / "data").glob("*.yaml"))
    for degradation in ("bicubic", "realistic")
    if (path.stem, degradation) != ("paired", "realistic")  # its LR is read
]


@pytest.mark.parametrize(("name", "degradation"), CHOICES)
def test_every_choice_builds_a_data_module(name: str, degradation: str):
    data = instantiate(composed(name, degradation))
    assert isinstance(data, SuperResolutionData)
    assert (data.scale, data.seed, data.cache) == (3, 5, "nowhere/cache")
    assert (data.train is None) == (name in ("benchmark", "images", "unreferenced"))
    assert isinstance(data.degradation, BicubicDegradation) == (degradation == "bicubic")


def test_a_degradation_that_pairs_would_ignore_is_refused():
    with pytest.raises(Exception, match=r"RealisticDegradation with data\.degrade_on=worker would have no"):
        instantiate(composed("paired", "realistic"))


def test_a_typo_is_refused():
    data = composed("demo")
    with open_dict(data):
        data.patch_sise = 3
    with pytest.raises(Exception, match="patch_sise"):
        instantiate(data)


@pytest.mark.parametrize("choice", [div2k, df2k])
def test_div2k_validates_on_none_of_its_training_images(choice):
    node = composed("div2k")
    assert list(node.validation_range) == [801, 900]
    left_out = ("_target_", "_convert_", "validation_range")
    loading = {key: value for key, value in node.items() if key not in left_out}
    with pytest.raises(ValueError, match=r"within 801..900, got \[800, 810\]"):
        choice(validation_range=[800, 810], **loading)


def test_a_benchmark_is_named_once_at_least():
    node = composed("benchmark")
    node.sets = ["Set5", "Set5"]
    with pytest.raises(Exception, match=r"none twice, got \['Set5', 'Set5'\]"):
        instantiate(node)
