"""Narrow networks whose weights are halved: fresh ones make ELAN chaotic, and no file could match it."""

import pytest
import torch

import srlab
from srlab.extensions.export.formats import find_format
from srlab.extensions.optional_packages import missing_packages

NARROW = {
    "elan_light": {"dim": 15, "depth": 2, "window_sizes": [2, 4, 8]},
    "swinir_light": {"dim": 24, "depths": [2], "num_heads": [2]},
    "hit_srf": {"dim": 20, "depths": [2], "num_heads": [2], "window_sizes": [4, 16]},
    "edsr_baseline": {"dim": 16, "depth": 2},
    "rcan": {"dim": 16, "num_groups": 1, "depth": 2, "squeeze_factor": 4},
}


def narrow(name: str, *, scale: int = 2, **changes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = srlab.create_model(name, scale=scale, **{**NARROW.get(name, {}), **changes}).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.5 if parameter.ndim > 1 else 1.0)
    return network


def require(name: str) -> None:
    """Skip where the format's packages are missing."""
    missing = missing_packages(find_format(name).packages)
    if missing:
        pytest.skip(f'needs {", ".join(missing)}: pip install -e ".[export]"')
