"""Every file in conf/ is composed, and what it names exists."""

import functools
from itertools import zip_longest
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException, HydraException
from hydra.utils import get_class, get_object
from omegaconf import DictConfig, ListConfig, OmegaConf

from official_networks import counted
from preset_cases import recorded
from srlab.app.application import register
from srlab.app.presets import build_network, configuration_folder
from srlab.models.network import Network

CONF = configuration_folder()
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
# From the released option files: learning rate, betas, milestones in thousands, steps in thousands, LR patch,
# effective batch, weight averaging.
HALVINGS = [250, 400, 450, 475]
RECIPES = {
    "elan_light_x4": (2e-4, [0.9, 0.999], [*HALVINGS, 500], 1000, 64, 64, False),
    "swinir_light_x2": (2e-4, [0.9, 0.999], [*HALVINGS, 500], 500, 64, 64, True),
    "swinir_light_x4": (1e-4, [0.9, 0.999], [125, 200, 225, 237.5, 250], 250, 64, 64, True),
    "swinir_x2": (2e-4, [0.9, 0.999], [*HALVINGS, 500], 500, 48, 32, True),
    "swinir_x3": (1e-4, [0.9, 0.999], [125, 200, 225, 237.5, 250], 250, 48, 32, True),
    "esc_x2": (5e-4, [0.9, 0.9], [*HALVINGS, 490], 500, 64, 64, True),
    "esc_light_x3": (5e-4, [0.9, 0.9], [*HALVINGS, 490], 500, 64, 64, True),
    "esc_fp_x4": (5e-4, [0.9, 0.9], [*HALVINGS, 490], 500, 64, 64, True),
    "sst_light_x2": (5e-4, [0.9, 0.9], [*HALVINGS, 490], 500, 64, 64, True),
    "sst_light_x4": (2.5e-4, [0.9, 0.9], [125, 200, 225, 237.5, 245], 250, 64, 64, True),
    "hit_sir_x2": (5e-4, [0.9, 0.99], HALVINGS, 500, 64, 64, False),
    "hit_srf_x4": (5e-4, [0.9, 0.99], HALVINGS, 500, 64, 64, False),
    "edsr_baseline_x2": (1e-4, [0.9, 0.99], [200], 300, 48, 16, True),
    "rcan_x2": (1e-4, [0.9, 0.99], [200], 300, 48, 16, True),
    "han_x3": (1e-4, [0.9, 0.999], [200], 400, 48, 16, False),
    "nlsn_x2": (1e-4, [0.9, 0.999], [200, 400, 600, 800], 1000, 48, 16, False),
}

# No papers' recipes at one scale, which their names end in: the network and the scale that they build.
OTHERS = {"ablation": "elan_demo_x2", "esc_lte": "esc_lte_x2"}


@functools.cache  # whoever reads a configuration leaves it as it is
def composed(*overrides: str, root: str = "train") -> DictConfig:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(root, overrides=list(overrides))


@pytest.mark.parametrize(
    "experiment",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name.endswith(("_x2", "_x3")) else [])
        for name in EXPERIMENTS
    ],
)
def test_experiment_builds_a_network_of_the_recorded_size_and_validates_its_last_step(experiment):
    cfg = composed(f"experiment={experiment}")
    assert max(cfg.scheduler.get("milestones", [0])) <= cfg.trainer.max_steps
    assert cfg.trainer.max_steps % cfg.validate_every == 0
    with torch.device("meta"):
        network = build_network(cfg.model)
    preset, _, scale = OTHERS.get(experiment, experiment).rpartition("_")
    preset = preset.replace("esc_real_psnr", "esc_real").replace("esc_real_gan", "esc_real")  # its two stages
    size = recorded(preset)[scale]
    assert counted(network) == (size["parameters"], size["trainable"])
    assert scale == f"x{network.scale}"


@pytest.mark.parametrize("experiment", RECIPES)
def test_recipes_are_the_released_ones(experiment):
    rate, betas, milestones, steps, patch, batch, averaged = RECIPES[experiment]
    cfg = composed(f"experiment={experiment}")
    assert (cfg.optimizer.lr, cfg.optimizer.betas, cfg.optimizer.weight_decay) == (rate, betas, 0.0)
    assert [milestone / 1000 for milestone in cfg.scheduler.milestones] == milestones
    assert (cfg.scheduler.gamma, cfg.trainer.max_steps) == (0.5, steps * 1000)
    assert (cfg.data.patch_size, cfg.data.batch_size) == (patch, batch)
    assert ("ema" in cfg.callbacks) == averaged
    assert cfg.scheduler.warmup == (20_000 if experiment.startswith(("esc", "sst")) else 0)


@pytest.mark.parametrize(
    "experiment", [name for name in EXPERIMENTS if not name.endswith("_x2") and name not in OTHERS]
)
def test_larger_scales_start_from_x2_where_their_authors_do(experiment):
    cfg = composed(f"experiment={experiment}")
    from_scratch = experiment.startswith(("elan", "msrresnet", "nlsn"))
    stages = {"esc_real_psnr_x4": None, "esc_real_gan_x4": "RUN_OF_PSNR"}
    stages |= dict.fromkeys(("elan_tiny_x3", "elan_tiny_x4"), "elan_tiny_x2")  # ours, which come with srlab
    stages["sst_light_x4"] = "RUN_OF_X3"
    assert cfg.initial_weights == stages.get(experiment, None if from_scratch else "RUN_OF_X2")


def test_the_stages_of_esc_real_are_the_released_ones():
    """From ESC's options of both stages."""
    psnr, gan = (composed(f"experiment=esc_real_{stage}_x4") for stage in ("psnr", "gan"))
    for cfg, rate, beta, steps in ((psnr, 5e-4, 0.9, 1_000_000), (gan, 1e-4, 0.99, 400_000)):
        assert (cfg.optimizer.lr, cfg.optimizer.betas, cfg.trainer.max_steps) == (rate, [0.9, beta], steps)
        assert (cfg.data.patch_size * 4, cfg.data.batch_size) == (256, 4 * 12)
        assert cfg.degradation._target_.endswith("SecondOrderDegradation")
        assert cfg.callbacks.ema.decay == 0.999
    assert (psnr.scheduler.milestones, psnr.scheduler.gamma) == ([100_000], 0.4)
    features = gan.loss.fidelity.loss.terms.features.layers
    assert features == {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1, "conv4_4": 1, "conv5_4": 1}
    assert (gan.loss.weight, gan.loss.discriminator.dim) == (0.1, 64)


def test_the_recipe_of_any_scale_is_the_released_one():
    """github.com/dslisleedh/ESC at e7e6938c, esc_arb: epochs of 800 * 20 / 32 steps."""
    cfg = composed("experiment=esc_lte")
    steps = 800 * 20 // 32
    assert list(cfg.scheduler.milestones) == [epoch * steps for epoch in (500, 800, 900, 950)]
    assert (cfg.scheduler.gamma, cfg.trainer.max_steps) == (0.5, 1000 * steps)
    assert (cfg.optimizer.lr, cfg.optimizer.betas, cfg.scheduler.warmup) == (2e-4, [0.9, 0.999], 0)
    assert (cfg.data.patch_size, cfg.data.compared_pixels, cfg.data.batch_size) == (64, 2304, 32)
    assert (cfg.data.scale_range, "ema" in cfg.callbacks) == ([1, 4], False)
    assert cfg.loss._target_.endswith("L1Loss")


def groups() -> list[str]:
    outside = {"hydra", "protocol", "experiment", "debug", "search"}
    return [
        f"{path.parent.name}={path.stem}"
        for path in sorted(CONF.glob("*/*.yaml"))
        if path.parent.name not in outside
    ]


def choices_at_once() -> list[tuple[str, ...]]:
    """The first choices of all groups together, then the second ones, …: each choice is composed once."""
    by_group: dict[str, list[str]] = {}
    for choice in groups():
        by_group.setdefault(choice.partition("=")[0], []).append(choice)
    return [tuple(filter(None, together)) for together in zip_longest(*by_group.values())]


@pytest.mark.parametrize("choices", choices_at_once())
def test_every_choice_composes_and_its_targets_resolve(choices):
    needs = {"data=folder": ["data.root=."], "shift_schedule=custom": ["shift_schedule.pattern=[0,1,0,1]"]}
    cfg = composed(*choices, *(word for choice in choices for word in needs.get(choice, [])))
    assert all(callable(get_object(target)) for target in targets(cfg))


def targets(node: DictConfig | ListConfig) -> list[str]:
    plain = OmegaConf.to_container(node, resolve=False)
    found: list[str] = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            found.extend(str(value[key]) for key in value if key == "_target_")
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(plain)
    return found


def test_every_network_class_has_a_preset():
    def leaves(cls: type) -> set[type]:
        return (
            {cls} if not cls.__subclasses__() else set().union(*(leaves(sub) for sub in cls.__subclasses__()))
        )

    used = {get_class(OmegaConf.load(path)._target_) for path in (CONF / "model").glob("*.yaml")}
    ours = {cls for cls in leaves(Network) if cls.__module__.startswith("srlab.")}
    assert ours <= used
    assert all(issubclass(cls, Network) for cls in used)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("trainer.max_stepz=3", "max_stepz"),
        ("data.patch_sise=3", "patch_sise"),
        ("model.dmi=3", "dmi"),
        ("validate_evry=3", "validate_evry"),
        ("optimizer.lrr=3", "lrr"),
        ("shift_schedule=alternating", "alternating"),
    ],
)
def test_a_typo_on_the_command_line_is_refused_by_name(override, named):
    with pytest.raises(HydraException, match=named):
        composed(override)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("validate_evry: 3", "validate_evry"),
        ("protocol: {basicsr: {boarder: 3}}", "boarder"),
        ("scale: two", "two"),
    ],
)
def test_a_typo_in_an_experiment_file_is_refused_by_name(tmp_path, text, named):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}\n")
    with pytest.raises(ConfigCompositionException, match=named):
        composed(f"hydra.searchpath=[{tmp_path}]", "experiment=mine")


@pytest.mark.parametrize("choice", ["elan", "[elan]"])
def test_evaluation_takes_one_protocol_or_several(choice):
    assert list(composed(f"protocol={choice}", "scale=2", root="evaluate").protocol) == ["elan"]


def test_no_file_in_conf_names_a_folder_of_some_machine():
    for path in Path(CONF).rglob("*.yaml"):
        assert "/home/" not in path.read_text(), path


@pytest.mark.parametrize("root", ["train", "evaluate"])
@pytest.mark.parametrize("choice", ["first_process", "stdout", "disabled"])
def test_whatever_logging_is_chosen_python_can_configure_it(root, choice):
    with initialize_config_dir(config_dir=str(configuration_folder()), version_base="1.3"):
        cfg = compose(root, overrides=[f"hydra/job_logging={choice}"], return_hydra_config=True)
    logging = OmegaConf.to_container(cfg.hydra.job_logging)
    assert isinstance(logging, dict)
    assert all("class" in handler for handler in logging.get("handlers", {}).values())
