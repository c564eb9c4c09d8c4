"""Presets from anywhere: names, overrides, errors, and Hydra's global state."""

import json
import logging
import os
import shutil
import subprocess
import sys

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, HydraException

import srlab
from preset_cases import recorded_scales
from srlab.app import presets
from srlab.app.presets import build_network, configuration_folder, create_model, list_models
from srlab.extensions.kernels.cpu.compiled import why_unavailable
from srlab.models.network import Network
from srlab.models.registry import network_classes

PUBLISHED = {"bicubic", "edsr_baseline", "elan", "elan_demo", "elan_light", "swinir", "swinir_light"}


def composed(*overrides):
    with initialize_config_dir(config_dir=str(configuration_folder()), version_base="1.3"):
        return compose("network", overrides=["scale=2", *overrides])


@pytest.mark.slow
def test_every_preset_is_listed_and_every_network_has_one():
    assert set(list_models()) >= PUBLISHED
    with torch.device("meta"):
        built = {type(create_model(name, scale=recorded_scales(name)[0])) for name in list_models()}
    assert built == set(network_classes())


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", sorted(PUBLISHED - {"swinir", "elan"}))
def test_presets_enlarge_by_the_scale(name, scale):
    network = create_model(name, scale=scale).eval()
    assert isinstance(network, Network)
    with torch.no_grad():
        assert network(torch.rand(1, 3, 5, 3)).shape == (1, 3, 5 * scale, 3 * scale)


def test_a_preset_that_is_edited_is_read_again(tmp_path, monkeypatch):
    """What was composed is used until a file changes; what one caller does to it the next does not see."""
    conf = shutil.copytree(configuration_folder(), tmp_path / "conf")
    monkeypatch.setattr(presets, "configuration_folder", lambda: conf)
    preset = conf / "model" / "edsr_baseline.yaml"
    assert create_model("edsr_baseline", scale=2, dim=8).conv_first.out_channels == 8
    assert create_model("edsr_baseline", scale=2).conv_first.out_channels == 64
    preset.write_text(preset.read_text().replace("dim: 64", "dim: 16"))
    os.utime(preset, ns=(0, 1))
    assert create_model("edsr_baseline", scale=3).conv_first.out_channels == 16


def test_overrides_replace_constructor_arguments():
    network = create_model(
        "elan_light", scale=2, window_sizes=[8, 8], n_share=0, depth=2, shift_schedule=[1, 0]
    )
    assert [block.shifted for block in network.body] == [True, False]
    assert network.body[0].attention[0].window_sizes == (8, 8)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (["shift_schedule=every"], [1, 1, 1, 1]),
        (["shift_schedule=none"], [0, 0, 0, 0]),
        (["shift_schedule=late"], [0, 0, 0, 1]),
        ([], [0, 1, 0, 1]),
        (["shift_schedule=custom", "shift_schedule.pattern=[1,0,0,1]"], [1, 0, 0, 1]),
    ],
)
def test_the_group_of_schedules_reaches_elan_and_swinir(schedule, expected):
    elan = build_network(composed("model=elan_demo", *schedule).model)
    assert [block.shifted for block in elan.body] == [bool(shifted) for shifted in expected]
    small = ["model.dim=12", "model.depths=[2,2]", "model.num_heads=[2,2]"]
    swinir = build_network(composed("model=swinir_light", *small, *schedule).model)
    assert [block.attention.shift for group in swinir.groups for block in group.blocks] == [
        4 * shifted for shifted in expected
    ]


def test_a_custom_schedule_without_a_pattern_is_refused():
    with pytest.raises(ValueError, match=r"configuration is incomplete: (.|\n)*shift_schedule"):
        build_network(composed("shift_schedule=custom").model)


def test_a_custom_schedule_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match=r"has 3 entries, but the network has 12 blocks"):
        build_network(composed("shift_schedule=custom", "shift_schedule.pattern=[0,1,0]").model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "elan_lite", "scale": 2}, r"unknown model 'elan_lite'; choose .*elan_light"),
        ({"name": "elan", "scale": 2, "windows": [8]}, r"ELAN takes scale.*; unknown: windows"),
        ({"name": "elan", "scale": "2"}, r"scale must be an integer of at least 1, got '2'"),
        ({"name": "elan_light", "scale": 2, "n_share": 4}, r"depth=24 modules do not divide into blocks"),
    ],
)  # fmt: skip
def test_wrong_requests_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        create_model(**arguments)


def test_a_missing_argument_is_named():
    with pytest.raises(ValueError, match=r"EDSR takes .*; missing: depth, dim, residual_scale, value_range"):
        build_network({"_target_": "srlab.models.edsr.EDSR", "scale": 2})


@pytest.mark.parametrize("override", ["model.windows=[8]", "shift_schedule=odd"])
def test_typos_are_refused_at_composition(override):
    with pytest.raises((ConfigCompositionException, HydraException), match=r"windows|odd"):
        composed(override)


def test_a_running_hydra_application_finds_its_state_again():
    with initialize_config_dir(config_dir=str(configuration_folder()), version_base="1.3"):
        running = GlobalHydra.instance().hydra
        create_model("bicubic", scale=2)
        assert GlobalHydra.instance().hydra is running
        assert compose("network", overrides=["scale=7"]).scale == 7
    assert not GlobalHydra.instance().is_initialized()
    create_model("bicubic", scale=2)
    assert not GlobalHydra.instance().is_initialized()


def test_hydras_state_survives_an_error():
    with initialize_config_dir(config_dir=str(configuration_folder()), version_base="1.3"):
        with pytest.raises(ValueError, match="scale"):
            create_model("bicubic", scale=0)
        assert GlobalHydra.instance().is_initialized()


@pytest.mark.slow
def test_works_from_any_folder_and_imports_torch_only_when_needed(tmp_path):
    script = """
import json, sys, srlab
heavy = [name for name in ("torch", "hydra") if name in sys.modules]
names = srlab.list_models()
early = "torch" in sys.modules
network = srlab.create_model("bicubic", scale=2)
print(json.dumps([heavy, names, early, network.scale]))
"""
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    heavy, names, early, scale = json.loads(result.stdout)
    assert (heavy, early, scale) == ([], False, 2)
    assert set(names) >= PUBLISHED


def test_unknown_attributes_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'create_modell'"):
        _ = srlab.create_modell
    assert set(srlab.__all__) <= set(dir(srlab))


def test_a_name_of_an_extension_that_is_not_installed_is_absent(monkeypatch):
    monkeypatch.setitem(srlab._HOMES, "upscale", "srlab.extensions.elsewhere.arrays")
    assert not hasattr(srlab, "upscale")
    with pytest.raises(
        AttributeError, match=r"srlab\.upscale needs srlab\.extensions\.elsewhere, which is not"
    ):
        _ = srlab.upscale


def test_automatic_backend_is_logged_once_for_each_device(caplog):
    network = create_model("elan_demo", scale=2).eval()
    with caplog.at_level(logging.INFO, logger="srlab.models.network"), torch.no_grad():
        network(torch.rand(1, 3, 4, 4))
        network(torch.rand(1, 3, 4, 4))
        chosen = "sdpa" if why_unavailable() else "fused"
        assert caplog.text.count(f"backend auto means {chosen} on cpu") == 1
        assert network.backend == chosen
    assert network.train().backend == chosen
    network.use_backend("sdpa")
    assert network.backend == "sdpa"
