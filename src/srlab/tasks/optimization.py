"""The optimizer of a run, and its learning rate as a closed-form function of the finished optimizer steps.

Both follow the configuration, not a checkpoint. torch's own cosine and multi-step schedulers save their
length and milestones, so that a run resumed with another length would follow the old curve (a cosine past its
end rises again). ``LambdaLR`` saves no functions.
"""

import logging
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

log = logging.getLogger(__name__)

# Devices on which torch 2.11 to 2.13 fuse Adam and AdamW; on a CPU elan_light's 244 tensors take 1.8 ms
# instead of 7.0 (one Zen 3 core).
_FUSED_DEVICES = ("cuda", "cpu")

Construct = Callable[[Iterable[Tensor]], Optimizer]


def cosine(optimizer: Optimizer, *, steps: int) -> LambdaLR:
    """From the optimizer's learning rate to 0 at ``steps`` along half a cosine, 0 from there on.

    Source: Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5 without restarts.

    Raises:
        ValueError: unless ``steps`` is at least 1.
    """
    if steps < 1:
        raise ValueError(f"a cosine schedule needs at least 1 step, got steps={steps} from trainer.max_steps")
    return LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0))))


def cosine_restarts(optimizer: Optimizer, *, period: int, lowest: float) -> LambdaLR:
    """From the optimizer's learning rate to ``lowest`` along half a cosine, again in every ``period``.

    Source: Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5 with periods of equal length.

    Raises:
        ValueError: unless ``period`` is at least 1 and ``lowest`` lies between 0 and the learning rate.
    """
    highest = optimizer.defaults["lr"]
    if period < 1 or not 0 <= lowest <= highest:
        raise ValueError(
            f"scheduler.period must be at least 1 step and scheduler.lowest lie between 0 and optimizer.lr="
            f"{highest}; got {period} and {lowest}"
        )
    floor = lowest / highest
    half = (1 - floor) / 2
    return LambdaLR(optimizer, lambda step: floor + half * (1 + math.cos(math.pi * (step % period) / period)))


def multistep(optimizer: Optimizer, *, milestones: Sequence[int], gamma: float, warmup: int = 0) -> LambdaLR:
    """Multiplied by ``gamma`` at each of the ``milestones``, after a linear warm-up.

    Step n of ``warmup`` (from 1) has n / warmup of the learning rate, as BasicSR's.

    Raises:
        ValueError: the milestones do not increase, or the warm-up is negative.
    """
    steps = list(milestones)
    if steps != sorted(set(steps)):
        raise ValueError(f"scheduler.milestones must increase, got {steps}")
    if warmup < 0:
        raise ValueError(f"scheduler.warmup must be 0 or more steps, got {warmup}")

    def factor(step: int) -> float:
        rise = min((step + 1) / warmup, 1.0) if warmup else 1.0
        return rise * gamma ** bisect_right(steps, step)

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer) -> LambdaLR:
    """The optimizer's learning rate throughout."""
    return LambdaLR(optimizer, lambda _step: 1.0)


def optimizer_builder(
    construct: Callable[..., Optimizer], *, fused: bool | str | None, may_fuse: bool
) -> Construct:
    """Return a function that makes the optimizer of the trainable parameters, once they are on their device.

    Its ``load_state_dict`` restores moments and counters but no options (learning rate, betas, weight decay,
    implementation, …): a resumed run follows its configuration.

    Args:
        construct: makes an optimizer of parameters, with its options.
        fused: True, False, ``auto``, or None to leave it to the optimizer.
        may_fuse: whether ``auto`` may.
    """

    def build(parameters: Iterable[Tensor]) -> Optimizer:
        parameters = list(parameters)
        is_fused = fused
        if fused == "auto":
            kinds = {parameter.device.type for parameter in parameters}
            is_fused = may_fuse and kinds <= set(_FUSED_DEVICES)
            log.info("optimizer.fused=auto means %s on %s", str(is_fused).lower(), ", ".join(sorted(kinds)))
        make = construct if is_fused is None else partial(construct, fused=is_fused)
        optimizer = make(parameters)
        optimizer.register_load_state_dict_pre_hook(partial(_with_own_options, make))
        return optimizer

    return build


def _with_own_options(make: Construct, optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """The state dict with the options of ``optimizer``."""
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
