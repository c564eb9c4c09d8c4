"""PFT against recorded outputs of the official code, its operators for CUDA replaced by PyTorch's."""

import pytest
import torch
from torch.testing import assert_close

from golden_files import Golden, load_golden
from official_networks import (
    assert_recorded_outputs,
    assert_recorded_state,
    assert_recorded_step,
    assumed,
    detect,
    deviation,
    rebuild,
)
from srlab.counts.live_memory import count_live_bytes
from srlab.models.pft import PFT
from srlab.ops import focused_attention
from srlab.ops.focused_attention import Layer, focus
from srlab.tasks.restoration import restore

SMALL = {
    "scale": 2, "dim": 8, "depths": [2, 2], "num_heads": 2, "window_size": 4, "kept_tokens": [16, 16, 8, 2],
    "share_bias": True, "kernel_side": 3, "mlp_ratio": 1.5, "head": "pixelshuffledirect",
    "connection": "1conv", "value_range": 1.0, "shift_schedule": "alternate",
}  # fmt: skip
# What the recorded file does not determine.
TOLD = {"num_heads": 2, "kept_tokens": [16, 16, 8, 8, 2, 2]}
BACKENDS = pytest.mark.parametrize("backend", PFT.plain_backends)


def small(**overrides):
    torch.manual_seed(0)
    return PFT(**{**SMALL, **overrides})


@pytest.fixture
def golden() -> Golden:
    return load_golden("pft/pft_light_x2.npz")


@pytest.fixture(autouse=True)
def _three_windows_at_a_time(monkeypatch):
    monkeypatch.setattr(focused_attention, "_SLAB", 3 * 2 * 16**2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@BACKENDS
def test_whole_network_gives_the_official_output(golden, backend, dtype):
    network = rebuild(PFT, golden, backend=backend, **TOLD).to(dtype)
    assert_recorded_outputs(network, golden, dtype, levels=256)


@BACKENDS
def test_layers_of_all_kinds_give_the_official_maps(golden, backend):
    """Layers 1, 3 and 5, which shift: the first compares all tokens, the others 16 and 8 of those before."""
    network, found = rebuild(PFT, golden, backend=backend, **TOLD).double(), {}
    blocks = [block for group in network.groups for block in group.blocks]
    for index in (1, 3, 5):
        blocks[index].register_forward_hook(
            lambda _module, _inputs, output, index=index: found.update({index: output[0].flatten(1, 2)})
        )
    with torch.no_grad():
        network(golden.arrays["x0"].double() / 256)
    for index, features in found.items():
        assert deviation(features, golden.arrays[f"m/{index}"]) <= 1e-9


@BACKENDS
def test_a_training_step_has_the_official_loss_and_gradients(golden, backend):
    assert_recorded_step(rebuild(PFT, golden, backend=backend, **TOLD), golden)


def test_detected_arguments_and_sizes_are_the_recorded_ones(golden):
    arguments = detect(PFT, golden.weights())
    assert arguments is not None
    config = golden.about["config"]
    expected = {
        "scale": 2, "dim": config["embed_dim"], "depths": config["depths"], "window_size": 4,
        "kernel_side": config["convffn_kernel_size"], "mlp_ratio": 1.0, "share_bias": True,
    }  # fmt: skip
    assert {name: arguments[name] for name in expected} == expected
    assert set(assumed(PFT, golden.weights())) == {*TOLD, "mean", "value_range", "shift_schedule"}
    network = rebuild(PFT, golden, **TOLD)
    assert_recorded_state(network, golden)


def layers(count, *, heads, windows=5, length=16, channels=4):
    """Random ones in float64, and a value."""
    torch.manual_seed(0)
    made = [
        Layer(
            *torch.randn(2, windows, heads, length, channels, dtype=torch.float64),
            bias=torch.randn(heads, length, length, dtype=torch.float64),
            regions=torch.arange(length).expand(windows, -1) // 8,
        )
        for _ in range(count)
    ]
    return made, torch.randn(windows, heads, length, channels, dtype=torch.float64)


@pytest.mark.parametrize("kept", [(16, 16, 5, 2), (16, 16, 16, 16), (9, 9, 9, 1)])
@BACKENDS
def test_shares_are_products_narrowed_to_the_largest(backend, kept):
    """Oracle: one token after another, as lists; layers after the first narrowing see no regions."""
    made, value = layers(len(kept), heads=2)
    before = ()
    for layer, keep in zip(made, kept, strict=True):
        mixed, before = focus(layer, value, before, keep=keep, form=backend)
    for window, head, token in ((0, 0, 0), (4, 1, 11), (2, 1, 15)):
        seen, shares = list(range(16)), None
        for layer, keep in zip(made, kept, strict=True):
            logits = layer.key[window, head] @ layer.query[window, head, token] + layer.bias[head, token]
            if len(seen) == 16:
                logits = logits - 100 * (torch.arange(16) // 8 != token // 8)
            now = logits[seen].softmax(0)
            shares = now if shares is None else now * shares / (now * shares).sum()
            largest = shares.argsort(descending=True)[:keep].sort().values
            seen, shares = [seen[index] for index in largest.tolist()], shares[largest]
        assert_close(mixed[window, head, token], shares @ value[window, head, seen])


def test_streaming_hands_on_no_map_of_all_tokens():
    """Half of the 64 tokens are kept: the reference has two maps of all, and rows for each that is kept."""
    made, value = layers(3, heads=2, windows=48, length=64)
    stored = {}
    for backend in PFT.plain_backends:

        def attend(form=backend):
            before = ()
            for layer, keep in zip(made, (64, 32, 32), strict=True):
                mixed, before = focus(layer, value, before, keep=keep, form=form)
            return mixed

        stored[backend], _ = count_live_bytes(attend)
    assert stored["streamed"] < 0.3 * stored["reference"]


def test_only_blocks_that_shift_alike_inherit():
    """Without shifts every block inherits from the one before: the kept tokens of one list."""
    network = small(shift_schedule="none")
    assert {block.attention.shift for group in network.groups for block in group.blocks} == {0}
    counts = []
    for group in network.groups:
        for block in group.blocks:
            block.register_forward_hook(
                lambda _module, inputs, output: counts.append(
                    [len(inputs[1]) and inputs[1][0].shares is not None, output[1][0].tokens is not None]
                )
            )
    with torch.no_grad():
        network.use_backend("reference")
        network(torch.rand(1, 3, 4, 4))
    assert counts == [[0, False], [True, False], [True, True], [True, True]]


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (9, 5)])
def test_every_size_is_enlarged_and_trained(size):
    network = small()
    sr_image = network(torch.rand(2, 3, *size))
    assert sr_image.shape == (2, 3, 2 * size[0], 2 * size[1])
    sr_image.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_tiles_are_the_whole_image_whose_end_is_mirrored():
    """Sides of 61 and 18 are mirrored by 3 and 2 pixels with the edge, in the last tile as in the image."""
    network, image = small(depths=[1], kept_tokens=[4]).double().eval(), torch.rand(1, 3, 61, 18).double()
    with torch.no_grad():
        expected = network(image)
    assert network.reach().full_halo < 20
    assert_close(restore(network, image, tile=16, exact=True), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"dim": 9}, r"dim=9 must be a multiple of num_heads=2"),
        ({"kernel_side": 4}, r"kernel_side=4 must be odd"),
        ({"kept_tokens": [16, 16]}, r"kept_tokens has 2 entries for 4 blocks; give one for each"),
        ({"kept_tokens": [17, 16, 8, 2]}, r"must start from at most 16, the tokens of a window"),
        ({"kept_tokens": [16, 4, 8, 2]}, r"kept_tokens=\[16, 4, 8, 2\] must start .* and never grow"),
        ({"backend": "sdpa"}, r"PFT has no backend 'sdpa'; choose one of reference, streamed, auto"),
    ],
)
def test_impossible_arguments_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        small(**overrides)
