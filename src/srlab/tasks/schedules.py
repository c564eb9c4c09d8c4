"""Learning rates as closed-form functions of the finished optimizer steps.

torch's own cosine and multi-step schedulers save their length and milestones in checkpoints and go on with
those, so that a run resumed with another length would follow the old curve (a cosine past its end rises
again). ``LambdaLR`` saves no functions: what the configuration says when the run goes on is what counts.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["constant", "cosine", "multistep"]


def cosine(optimizer: Optimizer, *, steps: int) -> LambdaLR:
    """From the optimizer's learning rate to 0 at ``steps`` along half a cosine, 0 from there on.

    Source: Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5 without restarts.

    Raises:
        ValueError: unless ``steps`` is at least 1.
    """
    if steps < 1:
        raise ValueError(
            f"a cosine schedule needs at least 1 step, got steps={steps}; it is trainer.max_steps"
        )
    return LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0))))


def multistep(optimizer: Optimizer, *, milestones: Sequence[int], gamma: float) -> LambdaLR:
    """Multiplied by ``gamma`` once each of the ``milestones`` is reached.

    Raises:
        ValueError: unless the milestones grow.
    """
    steps = list(milestones)
    if steps != sorted(set(steps)):
        raise ValueError(f"scheduler.milestones must grow, got {steps}")
    return LambdaLR(optimizer, lambda step: gamma ** bisect_right(steps, step))


def constant(optimizer: Optimizer) -> LambdaLR:
    """The optimizer's learning rate throughout."""
    return LambdaLR(optimizer, lambda _step: 1.0)
