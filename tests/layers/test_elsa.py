"""ELSA against recorded outputs of the official code."""

import re

import pytest
import torch
from torch.testing import assert_close

from golden_files import golden_files, load_golden
from srlab.layers.elsa import GhostHead, HadamardAttention
from srlab.layers.feed_forward import TransformerBlock

BACKENDS = ("reference", "fused")
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])

TO_OURS = (
    (r"(^|\.)pre_proj\.", r"\1project."),
    (r"(^|\.)attn\.0\.", r"\1weights.gather."),
    (r"(^|\.)attn\.2\.", r"\1weights.spread."),
    (r"(^|\.)post_proj\.", r"\1mix."),
    (r"^attn\.", r"attention."),
    (r"^mlp\.fc1\.", r"mlp.expand."),
    (r"^mlp\.fc2\.", r"mlp.contract."),
)
SMALL = {
    "dim": 12, "num_heads": 2, "kernel_side": 3, "group_width": 4, "dilation": 1, "qkv_bias": True,
    "qk_scale": 1.0, "lam": 1, "gamma": 1.0,
}  # fmt: skip


def ours(weights, *, lam, gamma):
    """The official ghost head is one tensor: factors, addends, or both stacked."""
    state = {}
    for key, value in weights.items():
        for pattern, replacement in TO_OURS:
            key = re.sub(pattern, replacement, key)
        state[key] = value
    for key in [key for key in state if key.endswith("ghost_head")]:
        ghosts = state.pop(key).flatten(0, -4)
        names = ["mul"] * bool(lam) + ["add"] * bool(gamma)
        state.update({f"{key}.{name}": ghost for name, ghost in zip(names, ghosts, strict=True)})
    return state


def attention_of(config, *, qkv_bias, qk_scale):
    return HadamardAttention(
        dim=config["dim"],
        num_heads=config["num_heads"],
        kernel_side=config["kernel_size"],
        group_width=8,
        dilation=config.get("dilation", 1),
        qkv_bias=qkv_bias,
        qk_scale=qk_scale,
        lam=config["lam"],
        gamma=config["gamma"],
    )


def recorded_attention(golden):
    config = golden.about["config"]
    qk_scale = config.get("qk_scale", (config["dim"] / config["num_heads"]) ** -0.5)
    attention = attention_of(config, qkv_bias=config.get("qkv_bias", False), qk_scale=qk_scale)
    attention.load_state_dict(ours(golden.weights(), lam=config["lam"], gamma=config["gamma"]))
    return attention


def assert_as_recorded(module, golden, dtype, backend):
    with torch.no_grad():
        result = module.to(dtype).eval()(golden.arrays["x"].to(dtype), backend)
    gap = 20 * golden.about["max_abs_f32_vs_f64"]  # as the fixtures of whole networks have it
    tolerance = 1e-9 if dtype == torch.float64 else gap
    assert_close(result.double(), golden.arrays["y_f64"], rtol=0, atol=tolerance)


@DTYPES
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", golden_files("elsa/elsa_d*.npz", beyond_selection=True))
def test_attention_is_the_official_one(name, backend, dtype):
    golden = load_golden(name)
    attention = recorded_attention(golden)
    assert sum(parameter.numel() for parameter in attention.parameters()) == golden.about["params"]
    assert_as_recorded(attention, golden, dtype, backend)


@DTYPES
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", golden_files("elsa/elsablock_*.npz", beyond_selection=True))
def test_block_is_the_official_one(name, backend, dtype):
    golden = load_golden(name)
    config = golden.about["config"]
    attention = attention_of(config, qkv_bias="w/attn.pre_proj.bias" in golden.arrays, qk_scale=1.0)
    hidden_dim = int(config["dim"] * config["mlp_ratio"])
    block = TransformerBlock(dim=config["dim"], attention=attention, hidden_dim=hidden_dim, drop_path=0.1)
    block.load_state_dict(ours(golden.weights(), lam=config["lam"], gamma=config["gamma"]))
    assert_as_recorded(block, golden, dtype, backend)


@pytest.mark.parametrize(("lam", "gamma"), [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0.5), (3, -1)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_both_backends_are_one_function_with_one_gradient(dilation, lam, gamma):
    torch.manual_seed(0)
    attention = HadamardAttention(**{**SMALL, "dilation": dilation, "lam": lam, "gamma": gamma}).double()
    features = torch.randn(2, 5, 4, 12, dtype=torch.float64, requires_grad=True)
    results = []
    for backend in BACKENDS:
        output = attention(features, backend)
        gradients = torch.autograd.grad(output.square().sum(), [features, *attention.parameters()])
        results.append([output, *gradients])
    for reference, fused in zip(*results, strict=True):
        assert_close(fused, reference, rtol=1e-11, atol=1e-12)
        assert reference.isfinite().all()


def test_ghost_head_holds_only_what_is_used_and_starts_as_officially():
    torch.manual_seed(0)
    assert GhostHead(dim=8, kernel_side=3, lam=0, gamma=0)() == (None, None)
    assert not list(GhostHead(dim=8, kernel_side=3, lam=0, gamma=0).parameters())
    head = GhostHead(dim=400, kernel_side=5, lam=1, gamma=1)
    assert_close(head.mul.std().item(), 1.0, rtol=0.03, atol=0)
    assert_close(head.add.std().item(), 0.02, rtol=0.03, atol=0)


def test_power_and_strength_are_applied():
    head = GhostHead(dim=2, kernel_side=3, lam=3, gamma=-0.5)
    factor, offset = head()
    assert_close(factor, head.mul * head.mul * head.mul)
    assert_close(offset, head.add / -2)


@pytest.mark.parametrize("lam", [0.5, 1.0, -1, True, "1"], ids=str)
def test_powers_that_negative_factors_do_not_have_are_refused(lam):
    with pytest.raises(ValueError, match=r"lam must be an integer of at least 0, got .*: the ghost factors"):
        GhostHead(dim=2, kernel_side=3, lam=lam, gamma=1.0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"dim": 2}, r"dim must be an integer of at least 3, got 2"),
        ({"num_heads": 0}, r"num_heads must be an integer of at least 1, got 0"),
        ({"num_heads": 5}, r"dim=12 must be a multiple of num_heads=5"),
        ({"kernel_side": 4}, r"kernel_side must be odd, so that a filter has a middle; got 4"),
        ({"kernel_side": 0}, r"kernel_side must be an integer of at least 1, got 0"),
        ({"group_width": 0}, r"group_width must be an integer of at least 1, got 0"),
        ({"dilation": 0}, r"dilation must be an integer of at least 1, got 0"),
    ],
)
def test_impossible_arguments_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        HadamardAttention(**{**SMALL, **overrides})
