"""A resumed run obeys what is typed, or refuses it by name; no key is taken and ignored."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from srlab.app.application import register
from srlab.app.presets import configuration_folder
from srlab.app.resume import check_obeyed, resumed_config
from srlab.app.saved_config import flat, load_config, save_config
from srlab.tasks.checkpoint_io import LastState
from srlab.tasks.optimization import constant, cosine, cosine_restarts, multistep

REFUSED = (
    "initial_weights",
    "latency.limit_ms",
    "limits",
    "model",
    "protocol",
    "scale",
    "shift_schedule",
    "paths.run",
    "paths.new_run",
)
# What says where and how the program runs, never what is computed from the checkpoint on.
APART = ("resume", "rerun")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with the configuration that a run of every group's default would leave."""
    register()
    with initialize_config_dir(config_dir=str(configuration_folder()), version_base="1.3"):
        words = ["data=div2k", "callbacks=ema", "scheduler=multistep", "degradation=realistic"]
        cfg = compose("train", overrides=[*words, "scheduler.milestones=[10]", "paths.name=tiny"])
    folder = tmp_path_factory.mktemp("run")
    cfg.paths.run = cfg.paths.new_run = str(folder)
    save_config(cfg, folder)
    return folder


def refusal(before, now, folder) -> str | None:
    try:
        check_obeyed(before, now, folder)
    except ValueError as error:
        return str(error)
    return None


def test_every_key_is_obeyed_or_refused_by_name(run):
    """Each is changed alone; ``resume`` and ``rerun`` are what is asked with."""
    before = OmegaConf.create(OmegaConf.to_container(load_config(run), resolve=True, enum_to_str=True))
    assert isinstance(before, DictConfig)
    for key, value in flat(before).items():
        if key in APART:
            continue
        now = copy.deepcopy(before)
        OmegaConf.update(now, key, _other(value), merge=False, force_add=True)
        told = refusal(before, now, run)
        is_refused = any(key == each or key.startswith(f"{each}.") for each in REFUSED)
        assert (told is not None) == is_refused, (key, told)
        assert told is None or told.startswith(f"{key}=")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (
            "initial_weights=x.pt",
            r"initial_weights=x.pt instead of None: a resumed run starts from its check",
        ),
        ("latency.limit_ms=3", r"latency.limit_ms=3.0 instead of None: limits decide whether"),
        (
            "protocol.basicsr.quantize=false",
            r"protocol.basicsr.quantize=False instead of True: the best score",
        ),
        ("shift_schedule.pattern=every", r"model.shift_schedule=every instead of alternate: resume keeps"),
        ("paths.run=elsewhere", r"paths.run=elsewhere instead of .*: a resumed run writes to its own folder"),
        ("trainer.devicess=2", r"there is no key trainer.devicess; the nearest are trainer.devices"),
        (
            "trainer.profiler=simple",
            r"an option that is not set yet is added with \+trainer.profiler",
        ),
    ],
)
def test_what_would_have_no_effect_is_refused(run, typed, told):
    with pytest.raises(ValueError, match=told):
        resumed_config(run, [f"resume={run}", typed])


def test_what_is_typed_as_it_was_is_no_change(run):
    resumed_config(run, [f"resume={run}", "model.dim=30", "scale=2", "initial_weights=null"])


def test_schedules_follow_what_they_are_built_with_whatever_was_saved():
    """Oracle: the same schedule at the same step in a run that never stopped."""
    pairs = [
        (cosine, {"steps": 5}, {"steps": 9}),
        (cosine_restarts, {"period": 3, "lowest": 0.01}, {"period": 4, "lowest": 0.02}),
        (multistep, {"milestones": [2], "gamma": 0.5}, {"milestones": [3, 5], "gamma": 0.1, "warmup": 2}),
        (constant, {}, {}),
    ]
    for build, old, new in pairs:
        saved, fresh, restored = (
            build(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1), **options)
            for options in (old, new, new)
        )
        for scheduler in (saved, fresh):
            for _ in range(4):
                scheduler.optimizer.step()
                scheduler.step()
        restored.load_state_dict(saved.state_dict())
        for scheduler in (fresh, restored):
            scheduler.optimizer.step()
            scheduler.step()
        assert math.isclose(fresh.get_last_lr()[0], restored.get_last_lr()[0]), build.__name__


def test_a_moving_average_is_not_taken_for_the_weights():
    trainer = SimpleNamespace(callbacks=[], max_steps=4)
    content = {"current_model_state": {}, "state_dict": {}, "callbacks": {}}
    with pytest.raises(ValueError, match="holds a moving average of the weights"):
        LastState(checkpoint="last.ckpt").on_load_checkpoint(trainer, None, content)  # type: ignore[arg-type]


def _other(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*value, *(value[-1:] or ["more"])]
    return "x" if value is None else f"{value}x"
