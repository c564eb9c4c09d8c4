"""The optimizer of a run: how its step is computed is chosen for the device, not by the checkpoint."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["check_fused", "optimizer_builder"]

log = logging.getLogger(__name__)

# Devices on which torch 2.11 to 2.13 fuse Adam and AdamW. On a CPU, too: elan_light's 244 tensors take 1.8 ms
# instead of 7.0 (one Zen 3 core).
_FUSED_DEVICES = ("cuda", "cpu")

# Entries of a parameter group that say how a step is computed, not what it computes.
_IMPLEMENTATION = ("fused", "foreach", "capturable")


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

    A state dict from elsewhere is loaded without its choice of implementation: a run that goes on on another
    device computes its steps as fits that one.

    Args:
        cfg: the composed ``train`` configuration; an optimizer without ``fused`` is left to itself.
    """
    node = OmegaConf.to_container(cfg.optimizer, resolve=True)
    assert isinstance(node, dict)
    if "fused" not in node:
        return instantiate(node)
    asked = node.pop("fused")
    construct, may_fuse = instantiate(node), not _is_clipped_under_autocast(cfg)

    def build(parameters: Iterable[Tensor]) -> Optimizer:
        parameters = list(parameters)
        fused = asked
        if asked == "auto":
            kinds = {parameter.device.type for parameter in parameters}
            fused = may_fuse and kinds <= set(_FUSED_DEVICES)
            log.info("optimizer.fused=auto means %s on %s", str(fused).lower(), ", ".join(sorted(kinds)))
        optimizer = construct(parameters, fused=fused)
        optimizer.register_load_state_dict_pre_hook(_keep_implementation)
        return optimizer

    return build


def _is_clipped_under_autocast(cfg: DictConfig) -> bool:
    """Lightning's autocast refuses to clip the gradients of an optimizer that unscales them itself."""
    return bool(cfg.trainer.gradient_clip_val) and str(cfg.trainer.precision).endswith("-mixed")


def _keep_implementation(optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """The state dict with the groups' implementation as ``optimizer`` has it."""
    groups = zip(state_dict["param_groups"], optimizer.param_groups, strict=True)
    chosen = [{**saved, **{key: own[key] for key in _IMPLEMENTATION if key in own}} for saved, own in groups]
    return {**state_dict, "param_groups": chosen}
