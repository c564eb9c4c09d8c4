"""The choice of how an optimizer's step is computed."""

import logging

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from srlab.app.application import register
from srlab.app.checks import check_fused
from srlab.app.presets import configuration_folder
from srlab.app.training import configured_optimizer


def config(**changes):
    optimizer = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.1, "fused": "auto"}
    trainer = {"gradient_clip_val": None, "precision": "32-true"}
    cfg = OmegaConf.create({"optimizer": optimizer, "trainer": trainer})
    for key, value in changes.items():
        OmegaConf.update(cfg, key, value)
    return cfg


def weight(device="cpu"):
    return torch.nn.Parameter(torch.linspace(-1, 1, 7, device=device))


def builder(cfg):
    return configured_optimizer(OmegaConf.to_container(cfg.optimizer, resolve=True), cfg.trainer)


def built(parameter, **changes):
    return builder(config(**changes))([parameter])


def stepped(optimizer, count):
    (parameter,) = optimizer.param_groups[0]["params"]
    for _ in range(count):
        parameter.grad = parameter.detach() ** 2 + 1
        optimizer.step()
    return parameter.detach().clone()


def test_auto_fuses_and_says_so_once(caplog):
    caplog.set_level(logging.INFO)
    optimizer = built(weight())
    stepped(optimizer, 3)
    assert optimizer.param_groups[0]["fused"] is True
    assert caplog.text.count("optimizer.fused=auto means true on cpu") == 1


def test_auto_leaves_devices_alone_that_cannot_fuse():
    assert built(weight("meta")).param_groups[0]["fused"] is False


@pytest.mark.parametrize("fused", [True, False])
def test_a_choice_is_kept(fused):
    assert built(weight(), **{"optimizer.fused": fused}).param_groups[0]["fused"] is fused


def test_fused_steps_are_those_of_the_plain_loop():
    fused, plain = (stepped(built(weight(), **{"optimizer.fused": choice}), 5) for choice in (True, False))
    torch.testing.assert_close(fused, plain, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_auto_does_not_fuse_what_is_clipped_under_autocast(precision):
    """Lightning would refuse to clip; without autocast it clips both."""
    clipped = {"trainer.gradient_clip_val": 1.0}
    optimizer = built(weight(), **clipped, **{"trainer.precision": precision})
    assert optimizer.param_groups[0]["fused"] is False
    assert not getattr(optimizer, "_step_supports_amp_scaling", False)
    assert built(weight(), **clipped).param_groups[0]["fused"] is True


@pytest.mark.parametrize("now", [True, False])
def test_what_was_saved_goes_on_as_the_configuration_has_it_now(now):
    """Oracle: the run that never stopped; its steps agree to rounding whoever computes them."""
    whole = stepped(built(weight(), **{"optimizer.fused": not now}), 4)
    parameter = weight()
    first = built(parameter, **{"optimizer.fused": not now})
    stepped(first, 2)
    second = built(parameter, **{"optimizer.fused": now})
    second.load_state_dict(first.state_dict())
    assert second.param_groups[0]["fused"] is now
    torch.testing.assert_close(stepped(second, 2), whole, rtol=1e-6, atol=1e-7)


def test_an_optimizer_that_knows_no_fused_is_left_to_itself():
    cfg = OmegaConf.create(
        {
            "optimizer": {"_target_": "torch.optim.Rprop", "_partial_": True, "lr": 0.1},
            "trainer": {"gradient_clip_val": None},
        }
    )
    check_fused(None, cfg.trainer)
    assert isinstance(builder(cfg)([weight()]), torch.optim.Rprop)


class Keeping(torch.optim.SGD):
    """Keeps an option as it is given."""

    def __init__(self, params, lr, betas):
        super().__init__(params, lr=lr)
        self.param_groups[0]["betas"] = betas


def test_options_are_plain_values_whatever_the_optimizer_does_with_them():
    """A list of OmegaConf's would be saved as such, and a checkpoint with it is not read."""
    options = {"_target_": f"{__name__}.Keeping", "lr": 0.1, "betas": [0.5, 0.6], "_partial_": True}
    cfg = OmegaConf.create({"optimizer": options, "trainer": {"gradient_clip_val": None}})
    assert type(builder(cfg)([weight()]).param_groups[0]["betas"]) is list


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="must be auto, true or false, got 'sometimes'"):
        check_fused("sometimes", config().trainer)


@pytest.mark.gpu
def test_a_run_moves_between_devices():
    parameter = weight()
    first = built(parameter, **{"optimizer.fused": False})
    whole = stepped(built(weight(), **{"optimizer.fused": False}), 4)
    stepped(first, 2)
    moved = torch.nn.Parameter(parameter.detach().cuda())
    second = built(moved)
    second.load_state_dict(first.state_dict())
    assert second.param_groups[0]["fused"] is True
    torch.testing.assert_close(stepped(second, 2).cpu(), whole, rtol=1e-5, atol=1e-6)


# Another value of each option of conf/optimizer, and of some that are not set there.
COMMON = {"lr": 0.3, "betas": [0.5, 0.6], "fused": False}
OF_ADAM = COMMON | {"weight_decay": 0.25, "eps": 1e-3, "maximize": True}
OTHER = {"adam": OF_ADAM, "adamw": OF_ADAM, "muon": COMMON | {"momentum": 0.5, "rms": 1.0}}


def composed(optimizer):
    register()
    with initialize_config_dir(config_dir=str(configuration_folder()), version_base="1.3"):
        return compose("train", overrides=[f"optimizer={optimizer}"])


@pytest.mark.parametrize("name", sorted(OTHER))
def test_a_restored_optimizer_follows_every_option_of_the_configuration(name):
    """Oracle: an optimizer built with these options that restored nothing; its moments are the saved ones."""
    cfg = composed(name)
    settable = cfg.optimizer.keys() - {"_target_", "_partial_"}
    assert settable <= OTHER[name].keys(), "an option without another value to try"
    old = builder(cfg)([weight()])
    stepped(old, 2)
    for option, value in OTHER[name].items():
        OmegaConf.update(cfg, f"optimizer.{option}", value, force_add=True)
        fresh, restored = (
            builder(cfg)([weight()]),
            builder(cfg)([weight()]),
        )
        restored.load_state_dict(old.state_dict())
        ours, theirs = (
            {key: item for key, item in each.param_groups[0].items() if key != "params"}
            for each in (restored, fresh)
        )
        assert ours == theirs, option
        moments = [next(iter(each.state.values()))["exp_avg"] for each in (restored, old)]
        torch.testing.assert_close(moments[0], moments[1], rtol=0, atol=0)


def test_adam_goes_on_as_adamw_does():
    """AdamW decays weights apart from the gradient; oracle: AdamW's own record of it."""
    adam, adamw = composed("adam"), composed("adamw")
    old = builder(adam)([weight()])
    stepped(old, 1)
    restored = builder(adamw)([weight()])
    restored.load_state_dict(old.state_dict())
    assert restored.param_groups[0]["decoupled_weight_decay"] is True


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"optimizer.amsgrad": True}, r"keeps exp_avg, exp_avg_sq, step of each weight, and Adam as config"),
        ({"optimizer._target_": "torch.optim.RMSprop"}, r"and RMSprop as configured keeps square_avg, step"),
    ],
)
def test_other_moments_than_the_saved_ones_are_refused(changes, told):
    old = built(weight())
    stepped(old, 1)
    cfg = config()
    if "optimizer._target_" in changes:
        del cfg.optimizer.fused
    for key, value in changes.items():
        OmegaConf.update(cfg, key, value, force_add=True)
    with pytest.raises(ValueError, match=told):
        builder(cfg)([weight()]).load_state_dict(old.state_dict())
