"""Kernels that extensions register, and what networks make of them."""

import logging
import subprocess
import sys

import pytest
import torch

import srlab
from srlab.extension_points import Registry, load_extensions
from srlab.ops import backends, kernels
from srlab.ops.backends import Kernel, kernels_for, register_kernel

SMALL = {"scale": 2, "dim": 8, "depths": [2], "num_heads": [2]}
CPU, META = torch.device("cpu"), torch.device("meta")


@pytest.fixture
def none_registered(monkeypatch):
    """As if no extension had kernels."""
    load_extensions()
    monkeypatch.setattr(backends, "_KERNELS", Registry("kernel"))
    monkeypatch.setattr(kernels, "_FUNCTIONS", {})


def add_values(query, key, value, **_options):
    return query + value


def register(**changes):
    options = {
        "operator": "window_attention", "backend": "mine", "device_type": "cpu", "load": lambda: add_values,
        "why_unavailable": lambda device: None, "has_gradients": False, "automatic": True,
    }  # fmt: skip
    register_kernel(Kernel(**{**options, **changes}))


def test_a_back_end_needs_nothing_but_its_registration(none_registered):
    register()
    network = srlab.create_model("swinir_light", **SMALL).eval()
    assert network.backends == ("reference", "sdpa", "flex", "mine")
    assert not kernels_for(["elan_body"])
    with torch.inference_mode():
        chosen = network(torch.ones(1, 3, 8, 8))
        assert network.backend == "mine"
        network.use_backend("sdpa")
        assert not torch.equal(network(torch.ones(1, 3, 8, 8)), chosen)
    network.use_backend("mine")
    assert not network.has_gradients(CPU)
    with pytest.raises(ValueError, match="backend mine has kernels for cpu, not for meta; use backend auto"):
        network.resolved_backend(META)
    with pytest.raises(ValueError, match="of backend mine on cpu' is registered already"):
        register(load=lambda: None)


@pytest.mark.parametrize("changes", [{"automatic": False}, {"why_unavailable": lambda device: "no compiler"}])
def test_auto_leaves_kernels_alone_that_do_not_run_or_are_not_for_it(none_registered, caplog, changes):
    register(**changes)
    network = srlab.create_model("swinir_light", **SMALL).eval()
    with torch.inference_mode():
        assert network.backend == "sdpa"
        assert network.backend == "sdpa"
    said = caplog.text.count("backend auto cannot use the mine kernels: no compiler")
    assert said == ("why_unavailable" in changes)


def test_without_kernels_auto_is_sdpa_and_says_so_once(none_registered, caplog):
    network = srlab.create_model("elan_demo", scale=2).eval()
    with caplog.at_level(logging.INFO, logger="srlab.models.network"), torch.inference_mode():
        network(torch.rand(1, 3, 8, 8))
        network(torch.rand(1, 3, 8, 8))
    assert network.backend == "sdpa"
    assert caplog.text.count("no compiled kernels are installed") == 1
    with pytest.raises(ValueError, match=r"no backend 'fused'; choose one of .*; no compiled kernels are"):
        network.use_backend("fused")


def test_registration_imports_neither_torch_nor_triton():
    code = """
import sys, srlab.extensions.kernels.plugin
print(sorted({"torch", "triton"} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
