"""Networks built from recorded official weights: what the model tests share."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from golden_files import Golden, load_golden
from srlab.checkpoints import official_state
from srlab.checkpoints.layouts import OfficialLayout, official_layout
from srlab.counts.complexity import count_parameters
from srlab.models.network import Network


def layout_of(network_class: type[Network]) -> OfficialLayout:
    """The official layout of a network that has one."""
    layout = official_layout(network_class)
    assert layout is not None
    return layout


def detect(network_class: type[Network], state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Constructor arguments from an official state dict; None if it is another network's."""
    layout = official_layout(network_class)
    if layout is None or any(mark not in state for mark in layout.landmarks):
        return None
    return layout.detect(state)[0]


def assumed(network_class: type[Network], state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Arguments that an official state dict does not determine."""
    return layout_of(network_class).detect(state)[1]


def counted(network: Network) -> tuple[int, int]:
    """Parameters of the official formulation: all and trainable."""
    report = count_parameters(network)
    return report.all, report.trainable


def rebuild(network_class: type[Network], golden: Golden, **overrides: Any) -> Network:
    """The network that a fixture's weights describe, with those weights, in evaluation mode."""
    weights = golden.weights()
    arguments = detect(network_class, weights)
    assert arguments is not None
    network = network_class(**{**arguments, **overrides})
    network.load_state_dict(layout_of(network_class).to_ours(weights))
    return network.eval()


def recorded_pairs(golden: Golden, dtype: torch.dtype) -> list[tuple[Tensor, Tensor, float]]:
    """(input, output, tolerance) of a fixture; its further outputs are stored in float32 only."""
    pairs = []
    for index in range(sum(key.startswith("x") for key in golden.arrays)):
        expected = golden.arrays[f"y{index}_f64" if index == 0 else f"y{index}"].double()
        tolerance = golden.about["tolerance"][str(dtype).removeprefix("torch.")]
        stored = 0.0 if index == 0 else expected.abs().max().item() * torch.finfo(torch.float32).eps
        pairs.append((golden.arrays[f"x{index}"].to(dtype), expected, tolerance + stored))
    return pairs


def deviation(result: Tensor, expected: Tensor) -> float:
    """Largest absolute difference."""
    return (result.double() - expected.double()).abs().max().item()


def assert_recorded_outputs(network: Network, golden: Golden, dtype: torch.dtype, *, levels: int) -> None:
    """Every output of a fixture within its tolerance; its inputs are integers below ``levels``."""
    for lr_image, expected, tolerance in recorded_pairs(golden, dtype):
        with torch.no_grad():
            assert deviation(network.to(dtype)(lr_image / levels), expected) <= tolerance


def assert_recorded_step(network: Network, golden: Golden) -> None:
    """Loss of the official training step to 1e-9, then :func:`assert_gradients_match`, in float64."""
    sr_image = network.double().train()(golden.arrays["x0"].double() / 256)
    loss = F.l1_loss(sr_image, golden.arrays["target"].double())
    assert loss.item() == pytest.approx(golden.about["loss"], abs=1e-9)
    loss.backward()
    assert_gradients_match(network, golden)


def assert_recorded_state(network: Network, golden: Golden, **options: Any) -> None:
    """Parameters as counted, and the official state with the recorded keys and values, bit for bit."""
    assert counted(network) == (golden.about["params_all"], golden.about["params_trainable"])
    state, weights = official_state(network, **options), golden.weights()
    assert state.keys() == weights.keys()
    for key, value in weights.items():
        assert_close(state[key], value, rtol=0, atol=0)
        assert state[key].is_contiguous(), key  # or safetensors would refuse it


def assert_gradients_match(network: Network, golden: Golden) -> None:
    """Every recorded gradient, within 1e-9 of the largest of the whole model; none is missing or extra."""
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    ours = layout_of(type(network)).to_ours(golden.weights("g/"))
    assert ours.keys() == gradients.keys()
    largest = max(value.abs().max().item() for value in ours.values())
    for name, expected in ours.items():
        assert deviation(gradients[name], expected) <= 1e-9 * max(1.0, largest), name


def initial_statistics(name: str) -> dict[str, list[float]]:
    """Mean, spread and bounds of every tensor of a preset as the official constructor leaves it."""
    recorded = load_golden("keys/init_stats.json").about.get(name)
    if recorded is None:
        pytest.skip(f"the committed selection has no statistics of {name}")
    return recorded


def assert_initialised_as(network: Network, recorded: dict[str, list[float]]) -> None:
    """Mean and spread of every tensor as the official constructor leaves them."""
    state = official_state(network)
    for name, (mean, std, smallest, largest) in recorded.items():
        value = state[name].double()
        count = value.numel()
        if smallest == largest:
            assert (value == smallest).all(), name
            continue
        assert abs(value.mean().item() - mean) <= 5 * std / count**0.5 + 1e-6, name  # both are samples
        if count > 500:
            assert abs(value.std().item() - std) <= 0.1 * std, name
