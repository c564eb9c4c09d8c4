"""The optimizer of a run: its options come from the configuration, not from a checkpoint."""

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from inspect import signature
from typing import Any

import torch
from hydra.utils import instantiate
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["check_fused", "optimizer_builder"]

log = logging.getLogger(__name__)

# Devices on which torch 2.11 to 2.13 fuse Adam and AdamW; on a CPU elan_light's 244 tensors take 1.8 ms
# instead of 7.0 (one Zen 3 core).
_FUSED_DEVICES = ("cuda", "cpu")

Construct = Callable[[Iterable[Tensor]], Optimizer]


def check_fused(fused: object, trainer: Mapping[Any, Any]) -> None:
    """Refuse a value of ``optimizer.fused`` that cannot be met.

    Raises:
        ValueError: naming the value and the remedy.
    """
    if fused not in (None, True, False, "auto"):
        raise ValueError(f"optimizer.fused must be auto, true or false, got {fused!r}")
    if fused is True and _clips_under_autocast(trainer):
        raise ValueError(
            "optimizer.fused=true cannot be combined with "
            f"trainer.gradient_clip_val={trainer['gradient_clip_val']} and "
            f"trainer.precision={trainer['precision']}: a fused step unscales its gradients itself, too late "
            "to clip them; use optimizer.fused=auto or false"
        )


def optimizer_builder(node: Mapping[str, Any], trainer: Mapping[Any, Any]) -> Construct:
    """Return a function that makes the optimizer of the trainable parameters, once they are on their device.

    Its ``load_state_dict`` restores moments and counters but no options (learning rate, betas, weight decay,
    implementation, …): a resumed run follows its configuration.

    Args:
        node: of the optimizer; one without ``fused`` decides that itself.
        trainer: node of the trainer.
    """
    fused = node.get("fused")
    construct = instantiate({key: value for key, value in node.items() if key != "fused"})

    def build(parameters: Iterable[Tensor]) -> Optimizer:
        parameters = list(parameters)
        is_fused = fused
        if fused == "auto":
            kinds = {parameter.device.type for parameter in parameters}
            is_fused = kinds <= set(_FUSED_DEVICES) and not _clips_under_autocast(trainer)
            log.info("optimizer.fused=auto means %s on %s", str(is_fused).lower(), ", ".join(sorted(kinds)))
        make = construct if is_fused is None else partial(construct, fused=is_fused)
        optimizer = make(parameters)
        optimizer.register_load_state_dict_pre_hook(partial(_with_own_options, make))
        return optimizer

    return build


def _clips_under_autocast(trainer: Mapping[Any, Any]) -> bool:
    """Lightning's autocast refuses to clip the gradients of an optimizer that unscales them itself."""
    is_mixed = str(trainer["precision"]).endswith(("-mixed", "bf16", "16"))
    return bool(trainer["gradient_clip_val"]) and is_mixed


def _with_own_options(make: Construct, optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """The state dict with the options of ``optimizer``.

    Raises:
        ValueError: it holds other moments than this optimizer keeps.
    """
    _check_moments(make, optimizer, state_dict["state"])
    constructors = (kind.__init__ for kind in type(optimizer).__mro__[:-1])
    names = {name for each in constructors for name in signature(each).parameters}
    options = names - {"params"} | {"initial_lr"}
    groups = zip(state_dict["param_groups"], optimizer.param_groups, strict=True)
    chosen = [{**saved, **{key: own[key] for key in options & own.keys()}} for saved, own in groups]
    return {**state_dict, "param_groups": chosen}


def _check_moments(make: Construct, optimizer: Optimizer, saved: Mapping[int, Mapping[str, Any]]) -> None:
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
