"""Every file in conf/data and conf/degradation builds what it names, without looking at a disk."""

from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from srlab.data.datamodule import SuperResolutionData
from srlab.data.datasets import df2k, div2k
from srlab.data.degradation import BicubicDegradation

CONF = Path(__file__).parents[2] / "conf"
ROOT = {"scale": 3, "seed": 5, "paths": {"data": "nowhere", "cache": "nowhere/cache"}}


def compose(data: str, degradation: str = "bicubic"):
    node = OmegaConf.load(CONF / f"data/{data}.yaml")
    for base in node.pop("defaults", []):
        if base != "_self_":
            node = OmegaConf.merge(OmegaConf.load(CONF / f"data/{base}.yaml"), node)
    if data == "folder":
        node.root = "nowhere"
    cfg = OmegaConf.create(ROOT | {"data": node})
    cfg.degradation = OmegaConf.load(CONF / f"degradation/{degradation}.yaml")
    return cfg


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "data").glob("*.yaml")))
@pytest.mark.parametrize("degradation", ["bicubic", "realistic"])
def test_every_choice_builds_a_data_module(name: str, degradation: str):
    data = instantiate(compose(name, degradation).data)
    assert isinstance(data, SuperResolutionData)
    assert (data.scale, data.seed, data.cache) == (3, 5, Path("nowhere/cache"))
    assert (data.train is None) == (name == "benchmark")
    assert isinstance(data.degradation, BicubicDegradation) == (degradation == "bicubic")


def test_a_typo_is_refused():
    cfg = compose("demo")
    cfg.data.patch_sise = 3
    with pytest.raises(Exception, match="patch_sise"):
        instantiate(cfg.data)


@pytest.mark.parametrize("choice", [div2k, df2k])
def test_div2k_validates_on_none_of_its_training_images(choice):
    node = compose("div2k").data
    assert list(node.validation_range) == [801, 900]
    left_out = ("_target_", "_convert_", "validation_range")
    loading = {key: value for key, value in node.items() if key not in left_out}
    with pytest.raises(ValueError, match=r"within 801..900, got \[800, 810\]"):
        choice(validation_range=[800, 810], **loading)
