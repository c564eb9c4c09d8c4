from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from protocols import basicsr, elan, published_y, rgb
from srlab.metrics.protocol import ProtocolConfig
from srlab.ops.input_padding import InputPadding

CONF = Path(__file__).parents[2] / "conf"

ROOT = """
defaults:
  - base_schema
  - protocol: [basicsr, published_y]
  - _self_
scale: 3
"""


@pytest.fixture
def composed(tmp_path):
    """Protocols by name as an application with a list of them and a typed schema gets them."""
    from dataclasses import dataclass, field

    from hydra.core.config_store import ConfigStore

    @dataclass
    class Base:
        scale: int
        protocol: dict[str, ProtocolConfig] = field(default_factory=dict)

    ConfigStore.instance().store(name="base_schema", node=Base)
    (tmp_path / "root.yaml").write_text(ROOT)

    def run(*overrides):
        search_path = f"hydra.searchpath=[file://{CONF}]"
        with initialize_config_dir(str(tmp_path), version_base="1.3"):
            return OmegaConf.to_object(compose("root", [search_path, *overrides]).protocol)

    return run


def test_several_protocols_stand_side_by_side_with_the_border_of_the_scale(composed):
    assert composed() == {"basicsr": basicsr(3), "published_y": published_y(3)}


@pytest.mark.parametrize("override", ["protocol=elan", "protocol=[elan]"])
def test_one_protocol_replaces_the_list(composed, override):
    assert composed(override, "scale=4") == {"elan": elan(4)}


def test_every_preset_composes_under_its_own_name(composed):
    names = sorted(path.stem for path in (CONF / "protocol").glob("*.yaml"))
    protocols = composed(f"protocol=[{','.join(names)}]")
    assert [protocol.name for protocol in protocols.values()] == list(protocols) == names
    assert protocols["rgb"] == rgb(3)
    assert {name: protocol.gray.name for name, protocol in protocols.items()} == {
        "basicsr": "replicate", "elan": "replicate", "published_y": "own", "rgb": "replicate",
    }  # fmt: skip


def test_one_field_can_be_changed(composed):
    protocols = composed("protocol=[basicsr]", "protocol.basicsr.padding=swinir_test")
    assert protocols["basicsr"].padding is InputPadding.swinir_test


@pytest.mark.parametrize("override", ["protocol.basicsr.quantise=true", "protocol.basicsr.padding=same"])
def test_typos_are_refused(composed, override):
    with pytest.raises(HydraException, match=r"quantise|padding"):
        composed(override)
