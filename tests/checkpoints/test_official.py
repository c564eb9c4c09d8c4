"""Official files: each is one network's, detected from keys and shapes, and written back as it was."""

import math
from typing import Any

import pytest
import torch

import srlab
from golden_files import golden_files, load_golden
from official_networks import detect, layout_of
from preset_cases import recorded, recorded_scales
from srlab.checkpoints import load_model, official_state, save_official
from srlab.models.network import Network
from srlab.models.registry import network_classes

# Which class takes the recorded weights and key lists that begin so.
TAKERS = {
    "elan/": "ELAN", "swinir/": "SwinIR",
    "cnn/edsr": "EDSR", "cnn/rcan": "RCAN", "cnn/msrresnet": "MSRResNet",
    "hit/": "HiTSR", "esc/esc_x": "ESC", "esc/escfp": "EscFP", "esc/escreal": "EscReal",
    "keys/elan": "ELAN", "keys/swinir": "SwinIR", "keys/edsr": "EDSR", "keys/rcan": "RCAN",
    "keys/msrresnet": "MSRResNet", "keys/hit": "HiTSR", "keys/esc_x": "ESC", "keys/esc_light": "ESC",
    "echosr/": "EchoSR", "keys/echosr": "EchoSR",
    "han/": "HAN", "keys/han": "HAN", "nlsn/": "NLSN", "keys/nlsn": "NLSN",
    "keys/esc_fp": "EscFP", "keys/esc_real": "EscReal", "keys/esc_lte": "EscLTE",
}  # fmt: skip
# Presets whose file in tests/recorded says how the names of their recorded outputs begin need no entry above.
STARTS = {name: recorded(name)["golden"] for name in srlab.list_models() if "golden" in recorded(name)}
for _name, _start in STARTS.items():
    with torch.device("meta"):
        _network = srlab.create_model(_name, scale=recorded_scales(_name)[0])
    TAKERS |= dict.fromkeys((_start, f"keys/{recorded(_name)['keys']}_"), type(_network).__name__)
# How the authors' code nests the state dict: names and prefix, read from their training and test scripts.
NESTING = {
    "ELAN": (["model_state_dict"], "module."),
    "EscLTE": ([], ""),
    "HAN": ([], ""),
    "NLSN": ([], ""),
    **{name: (["params", "params_ema"], "") for name in ("ESC", "EscFP", "EscReal", "EscRib", "SST")},
}
WHOLE = [
    name
    for kind in (
        "elan/elan_*",
        "swinir/swinir_*",
        "cnn/*",
        "hit/*",
        "esc/esc*_x*",
        "han/*",
        "nlsn/*",
        "echosr/*",
        *(f"{start}*" for start in STARTS.values()),
    )
    for name in golden_files(f"{kind}.npz", beyond_selection=True)
]
KEYS = [name for name in golden_files("keys/*.json") if name != "keys/init_stats.json"]


def taker(file: str) -> type[Network]:
    """The network that a recorded file belongs to."""
    names = {name for start, name in TAKERS.items() if file.startswith(start)}
    return next(network for network in network_classes() if {network.__name__} == names)


@pytest.mark.parametrize("file", WHOLE)
def test_recorded_weights_are_detected_by_exactly_one_network(file):
    weights = load_golden(file).weights()
    takers = [network for network in network_classes() if detect(network, weights) is not None]
    assert takers == [taker(file)]


@pytest.mark.parametrize("file", KEYS)
def test_every_landmark_is_a_recorded_official_key(file):
    assert set(layout_of(taker(file)).landmarks) <= load_golden(file).about.keys()


def random_network(file: str) -> tuple[Network, dict[str, torch.Tensor]]:
    """A network of the recorded size with random weights, and its official state of the recorded keys."""
    about = load_golden(file).about
    generator = torch.Generator().manual_seed(0)
    blank = {key: torch.zeros(()).expand(shape) for key, (shape, _) in about.items()}
    network_class = taker(file)
    arguments = detect(network_class, blank)
    assert arguments is not None
    network = network_class(**arguments)  # its constants are right
    state = {
        key: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }
    network.load_state_dict(state)
    return network.eval(), official_state(network)


def weighed() -> list[Any]:
    """Large networks take seconds each, and the same ones at other scales prove little more."""
    cases = []
    for file in KEYS:
        is_large = sum(math.prod(shape) for shape, _ in load_golden(file).about.values()) > 5_000_000
        is_repeated = file.endswith(("_x2.json", "_x3.json")) and f"{file[: -len('2.json')]}4.json" in KEYS
        if not (is_large and is_repeated):
            cases.append(pytest.param(file, marks=[pytest.mark.slow] if is_large or is_repeated else []))
    return cases


@pytest.mark.parametrize("file", weighed())
def test_official_files_load_and_are_written_back_to_the_last_bit(file, tmp_path):
    network, official = random_network(file)
    layout = {key: [list(value.shape), str(value.dtype)[6:]] for key, value in official.items()}
    recorded = load_golden(file).about.items()
    assert layout == {key: [shape, dtype.removeprefix("torch.")] for key, (shape, dtype) in recorded}
    containers, prefix = NESTING.get(type(network).__name__, (["params"], ""))
    nested = {f"{prefix}{key}": value for key, value in official.items()}
    torch.save(dict.fromkeys(containers, nested) or nested, tmp_path / "official.pth")
    loaded = load_model(tmp_path / "official.pth")
    save_official(loaded, tmp_path / "again.pth")
    again = torch.load(tmp_path / "again.pth", weights_only=True)
    assert again.keys() == (set(containers) or nested.keys())
    for state in [again[container] for container in containers] or [again]:
        assert state.keys() == nested.keys()
        assert all(torch.equal(state[key], value) for key, value in nested.items())
        assert all(state[key].dtype == value.dtype for key, value in nested.items())


FIRST_ELAN = "body.0.modules_lfe.lfe_0.conv0.shift_conv.conv1x1.weight"
TABLE = "layers.0.residual_group.blocks.0.attn.relative_position_bias_table"


@pytest.mark.parametrize(
    ("network", "changes", "message"),
    [
        ("elan", {"tail.0.weight": 1.0}, r"looks like ELAN, but cannot be read: "),
        ("elan", {FIRST_ELAN: 1.0}, r"looks like ELAN, but cannot be read: "),
        ("elan", {"body.x.foo": 1.0}, r"looks like ELAN, but cannot be read: invalid .*'x'"),
        ("elan", {"body": 1.0}, r"does not fit ELAN: 1 unexpected: body$"),
        ("elan", {"sub_mean.weight": 1.0}, r"ELAN, but cannot be read: sub_mean.weight differs from"),
        ("swinir", {"conv_first.weight": 1.0}, r"looks like SwinIR, but cannot be read: "),
        ("swinir", {TABLE: 1.0}, r"looks like SwinIR, but cannot be read: "),
        ("swinir", {"upsample.0.weight": None, "upsample.0.bias": None}, r"but lacks upsample.0.weight$"),
        ("swinir", {"conv_first.weight": None}, r"no known network .* it holds \d+ tensors: conv_first.bias"),
    ],
)
def test_a_network_that_cannot_be_read_is_named_with_the_fault(request, network, changes, message, tmp_path):
    state = official_state(request.getfixturevalue(network))
    for key, value in changes.items():
        state[key] = torch.tensor(value or 0.0)
        if value is None:
            del state[key]
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=rf"odd.pth.* {message}"):
        load_model(tmp_path / "odd.pth")
