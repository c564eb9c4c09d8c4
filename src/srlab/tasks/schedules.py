"""Learning rates as closed-form functions of the finished optimizer steps.

torch's own cosine and multi-step schedulers save their length and milestones in checkpoints, so that a run
resumed with another length would follow the old curve (a cosine past its end rises again). ``LambdaLR`` saves
no functions: the configuration of the resumed run counts.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["constant", "cosine", "cosine_restarts", "multistep"]


def cosine(optimizer: Optimizer, *, steps: int) -> LambdaLR:
    """From the optimizer's learning rate to 0 at ``steps`` along half a cosine, and 0 after that.

    Source: Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5 without restarts.

    Raises:
        ValueError: unless ``steps`` is at least 1.
    """
    if steps < 1:
        raise ValueError(
            f"a cosine schedule needs at least 1 step, got steps={steps}; it is trainer.max_steps"
        )
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
    return LambdaLR(
        optimizer,
        lambda step: floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (step % period) / period)),
    )


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
