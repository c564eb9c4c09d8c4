"""The optimizer of a run: its options are those of the configuration, not those of a checkpoint."""

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from inspect import signature
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["check_fused", "optimizer_builder"]

log = logging.getLogger(__name__)

# Devices on which torch 2.11 to 2.13 fuse Adam and AdamW. On a CPU, too: elan_light's 244 tensors take 1.8 ms
# instead of 7.0 (one Zen 3 core).
_FUSED_DEVICES = ("cuda", "cpu")


def check_fused(cfg: DictConfig) -> None:
    """Refuse a choice of ``optimizer.fused`` that cannot be met.

    Args:
        cfg: the composed ``train`` configuration.

    Raises:
        ValueError: naming the value and the remedy.
    """
    fused = cfg.optimizer.get("fused")
    if fused not in (None, True, False, "auto"):
        raise ValueError(f"optimizer.fused must be auto, true or false, got {fused!r}")
    if fused is True and _is_clipped_under_autocast(cfg):
        raise ValueError(
            f"optimizer.fused=true cannot go with trainer.gradient_clip_val={cfg.trainer.gradient_clip_val} "
            f"and trainer.precision={cfg.trainer.precision}: a fused step unscales its gradients itself, too "
            "late to clip them; use optimizer.fused=auto or false"
        )


def optimizer_builder(cfg: DictConfig) -> Callable[[Iterable[Tensor]], Optimizer]:
    """What makes the optimizer from the trainable parameters, once they lie where they are trained.

    A state dict is loaded without its options (learning rate, betas, weight decay, implementation, …): a
    resumed run follows its configuration, and computes its steps as fits the device.

    Args:
        cfg: the composed ``train`` configuration; an optimizer without ``fused`` is left to itself.
    """
    node = OmegaConf.to_container(cfg.optimizer, resolve=True)
    assert isinstance(node, dict)
    asked = node.pop("fused", None)
    construct = instantiate(node)
    may_fuse = asked == "auto" and not _is_clipped_under_autocast(cfg)

    def build(parameters: Iterable[Tensor]) -> Optimizer:
        parameters = list(parameters)
        fused = asked
        if asked == "auto":
            kinds = {parameter.device.type for parameter in parameters}
            fused = may_fuse and kinds <= set(_FUSED_DEVICES)
            log.info("optimizer.fused=auto means %s on %s", str(fused).lower(), ", ".join(sorted(kinds)))
        make = construct if fused is None else partial(construct, fused=fused)
        optimizer = make(parameters)
        optimizer.register_load_state_dict_pre_hook(partial(_with_own_options, make))
        return optimizer

    return build


def _is_clipped_under_autocast(cfg: DictConfig) -> bool:
    """Lightning's autocast refuses to clip the gradients of an optimizer that unscales them itself."""
    return bool(cfg.trainer.gradient_clip_val) and str(cfg.trainer.precision).endswith("-mixed")


def _with_own_options(
    make: Callable[[Iterable[Tensor]], Optimizer], optimizer: Optimizer, state_dict: dict[str, Any]
) -> dict[str, Any]:
    """The state dict with the options of ``optimizer``, which are those that the run records.

    What a checkpoint restores is what the optimizer has learnt: moments and counters.

    Raises:
        ValueError: it keeps other moments than this optimizer.
    """
    _check_moments(make, optimizer, state_dict["state"])
    options = _options(optimizer)
    groups = zip(state_dict["param_groups"], optimizer.param_groups, strict=True)
    chosen = [{**saved, **{key: own[key] for key in options & own.keys()}} for saved, own in groups]
    return {**state_dict, "param_groups": chosen}


def _options(optimizer: Optimizer) -> set[str]:
    """Arguments of its constructor, and of those that it inherits, and the start of the learning rate."""
    constructors = (kind.__init__ for kind in type(optimizer).__mro__[:-1])
    names = {name for each in constructors for name in signature(each).parameters}
    return names - {"params"} | {"initial_lr"}


def _check_moments(
    make: Callable[[Iterable[Tensor]], Optimizer],
    optimizer: Optimizer,
    saved: Mapping[int, Mapping[str, Any]],
) -> None:
    """Compare with what this optimizer keeps of a parameter after its first step."""
    if not saved:
        return
    number = torch.zeros_like(optimizer.param_groups[0]["params"][0], requires_grad=True)
    number.grad = torch.zeros_like(number)
    fresh = make([number])
    fresh.step()
    ours, theirs = set(fresh.state[number]), set(next(iter(saved.values())))
    if ours != theirs:
        raise ValueError(
            f"the checkpoint's optimizer keeps {', '.join(sorted(theirs)) or 'nothing'} of each weight, and "
            f"{type(optimizer).__name__} as configured keeps {', '.join(sorted(ours)) or 'nothing'}: leave "
            "the optimizer as it was, or start a new run with initial_weights=RUN"
        )
