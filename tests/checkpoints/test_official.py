"""Official files: each is one network's, detected from keys and shapes, and written back as it was."""

import math

import pytest
import torch

from golden_files import golden_files, load_golden
from official_networks import detect, layout_of
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
    "keys/esc_fp": "EscFP", "keys/esc_real": "EscReal", "keys/esc_lte": "EscLTE",
}  # fmt: skip
# How the authors' code nests the state dict: names and prefix, read from their training and test scripts.
NESTING = {
    "ELAN": (["model_state_dict"], "module."),
    "EscLTE": ([], ""),
    **{name: (["params", "params_ema"], "") for name in ("ESC", "EscFP", "EscReal")},
}
WHOLE = [
    name
    for kind in ("elan/elan_*", "swinir/swinir_*", "cnn/*", "hit/*", "esc/esc*_x*")
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


def weighed(file: str) -> object:
    """Large networks take seconds each, and the same ones at other scales prove little more."""
    entries = sum(math.prod(shape) for shape, _ in load_golden(file).about.values())
    is_slow = entries > 5_000_000 or file.endswith(("_x2.json", "_x3.json"))
    return pytest.param(file, marks=[pytest.mark.slow] if is_slow else [])


@pytest.mark.parametrize("file", [weighed(file) for file in KEYS])
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
        ("elan", {"tail.0.weight": 1.0}, r"ELAN, but cannot be read at tail.0.weight of shape \(\)"),
        ("elan", {FIRST_ELAN: 1.0}, rf"ELAN, but cannot be read at {FIRST_ELAN} of shape \(\)"),
        ("elan", {"body.x.foo": 1.0}, r"ELAN, but cannot be read at body.x.foo of shape \(\): invalid .*'x'"),
        ("elan", {"body": 1.0}, r"pth does not fit ELAN: 1 unexpected: body$"),
        ("elan", {"body.": 1.0}, r"ELAN, but cannot be read at body. of shape \(\)"),
        ("elan", {"sub_mean.weight": 1.0}, r"ELAN, but cannot be read at sub_mean.weight of .* differs from"),
        ("swinir", {"conv_first.weight": 1.0}, r"SwinIR, but cannot be read at conv_first.weight of shape"),
        ("swinir", {TABLE: 1.0}, rf"SwinIR, but cannot be read at {TABLE} of shape \(\)"),
        ("swinir", {"upsample.0.weight": 1.0}, r"SwinIR, but cannot be read at upsample.0.weight of shape"),
        (
            "swinir",
            {"upsample.0.weight": None, "upsample.0.bias": None},
            r"SwinIR, but lacks upsample.0.weight$",
        ),
    ],
)
def test_a_network_that_cannot_be_read_is_named_with_the_key_at_fault(
    request, network, changes, message, tmp_path
):
    state = official_state(request.getfixturevalue(network))
    for key, value in changes.items():
        state[key] = torch.tensor(value or 0.0)
        if value is None:
            del state[key]
    torch.save(state, tmp_path / "odd.pth")
    looks = "" if "does not fit" in message else "odd.pth looks like "
    with pytest.raises(ValueError, match=looks + message):
        load_model(tmp_path / "odd.pth")


EDSR_START = ["body.0.conv1.weight", "conv_first.weight", "conv_first.bias"]


@pytest.mark.parametrize(
    ("file", "removed", "message"),
    [
        ("keys/elan_light_x4.json", [FIRST_ELAN], rf"it has body\S+ like ELAN, but lacks {FIRST_ELAN}$"),
        (
            "keys/elan_light_x4.json",
            [FIRST_ELAN, "tail.0.weight"],
            rf"ELAN, but lacks {FIRST_ELAN}, tail.0.weight$",
        ),
        (
            "keys/swinir_light_x2.json",
            ["conv_first.weight"],
            rf"it has {TABLE} like SwinIR, but lacks conv_first.weight$",
        ),
        ("keys/swinir_light_x2.json", [TABLE], rf"like SwinIR, but lacks {TABLE}$"),
        (
            "keys/edsr_baseline_x4.json",
            EDSR_START,
            r"it has \S+ like EDSR, but lacks body.0.conv1.weight, conv_first.weight$",
        ),
    ],
)
@pytest.mark.parametrize("prefix", ["", "generator."])
def test_an_official_file_without_its_first_keys_is_told_which(file, removed, message, prefix, tmp_path):
    shapes = load_golden(file).about
    state = {
        f"{prefix}{key}": torch.zeros(()).expand(shape)
        for key, (shape, _) in shapes.items()
        if key not in removed
    }
    torch.save({**state, "foo.bar": torch.zeros(2)}, tmp_path / "hole.pth")
    message = message.replace("it has ", f"it has {prefix}")
    with pytest.raises(ValueError, match=rf"hole.pth: .*{message}"):
        load_model(tmp_path / "hole.pth")
