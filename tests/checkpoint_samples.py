"""Checkpoints as the trainer writes them, and what the tests of files compare."""

import os

import torch
from torch.testing import assert_close

ELAN_ARGUMENTS = {
    "scale": 3, "dim": 30, "depth": 4, "n_share": 1, "window_sizes": [2, 4], "expansion": 2,
    "shift_schedule": "alternate", "backend": "auto",
}  # fmt: skip


def ours(network, **entries):
    """A checkpoint as the trainer writes it."""
    target = f"{type(network).__module__}.{type(network).__qualname__}"
    model = {"_target_": target, "_convert_": "all", **entries.pop("arguments")}
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    return {
        "state_dict": {**state, "loss.weight": torch.ones(1)},
        "srlab": {"model": model, "protocol": {"name": "basicsr"}, "versions": {"torch": "2"}, **entries},
        "epoch": 3,
        "optimizer_states": [{"state": {}}],
    }


def assert_same_function(first, second, size=(13, 9)):
    image = torch.rand(1, 3, *size)
    with torch.no_grad():
        assert_close(first(image), second(image), rtol=0, atol=0)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)
