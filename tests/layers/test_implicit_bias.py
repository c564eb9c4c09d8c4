"""Windows with an implicit position bias, against the bias written out."""

import math

import pytest
import torch
from torch.testing import assert_close

from srlab.counts.live_memory import count_live_bytes
from srlab.layers import implicit_bias
from srlab.layers.implicit_bias import GatedWindowAttention, window_waves


def attention(**overrides):
    torch.manual_seed(0)
    arguments = {"dim": 6, "num_heads": 2, "window_size": 4, "rank": 3, "bias_dim": 5, "frequencies": 2}
    module = GatedWindowAttention(**{**arguments, **overrides})
    for weight in (module.position.embed, module.position.to_query, module.position.to_key):
        torch.nn.init.normal_(weight)
    return module.double()


def test_tokens_know_their_place_by_sines_and_cosines_of_octaves():
    waves = window_waves(4, 3, device=torch.device("cpu"), dtype=torch.float64)
    for row in range(4):
        for column in range(4):
            x, y = ((2 * place + 1) / 4 - 1 for place in (column, row))
            expected = [x, y]
            for octave in (1, 2, 4):
                expected += [wave(octave * place) for wave in (math.sin, math.cos) for place in (x, y)]
            assert waves[4 * row + column].tolist() == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("backend", ["reference", "sdpa"])
def test_factors_in_the_channels_are_a_bias_on_the_logits(backend):
    module, features = attention(), torch.rand(1, 6, 4, 4, dtype=torch.float64)
    query, key, value = module.qkv(features).flatten(2).reshape(3, 2, 3, 16).transpose(-2, -1)
    waves = window_waves(4, 2, device=features.device, dtype=features.dtype)
    hidden = (waves @ module.position.embed + module.position.embed_offset).clamp(min=0)
    bias = torch.stack(
        [
            (hidden @ module.position.to_query[head]) @ (hidden @ module.position.to_key[head]).T / 3**0.5
            for head in range(2)
        ]
    )
    maps = (query @ key.transpose(-2, -1) / 3**0.5 + bias).softmax(-1)
    mixed = (maps @ value).transpose(-2, -1).reshape(1, 6, 4, 4)
    assert bias.std() > 0.1
    assert_close(module(features, backend), module.out(mixed * module.gate(features)))


@pytest.mark.parametrize("backend", ["reference", "sdpa"])
@pytest.mark.parametrize("shifted", [False, True])
def test_windows_in_parts_are_all_windows_at_once(backend, shifted, monkeypatch):
    module, features = attention(shifted=shifted), torch.rand(2, 6, 9, 6, dtype=torch.float64)
    at_once = module(features, backend)
    monkeypatch.setattr(implicit_bias, "_LOGITS_AT_A_TIME", 5 * 4**4)
    monkeypatch.setattr(implicit_bias, "_TOKENS_AT_A_TIME", 5 * 4**2)
    with torch.no_grad():
        assert_close(module(features, backend), at_once)


def test_memory_without_maps():
    """Eight windows of 32, each with a map of 4 MiB, which only the reference holds."""
    module = attention(window_size=32, num_heads=1).float().eval()
    features = torch.rand(1, 6, 64, 128)

    def run(backend):
        with torch.no_grad():
            module(features, backend)

    run("sdpa")
    assert count_live_bytes(lambda: run("sdpa"))[0] < 4 * 2**20
    assert count_live_bytes(lambda: run("reference"))[0] > 8 * 4 * 2**20
