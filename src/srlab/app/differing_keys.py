"""In what two runs differ."""

import copy
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from srlab.app.flat_config import flat_items
from srlab.app.list_values import single_values_as_lists
from srlab.app.own_paths import make_paths_absolute
from srlab.extensions.wandb.environment import fix_identity

__all__ = ["differing_keys"]

# What a folder's place and a run's identity are, not what it computes.
_APART = ("paths", "resume", "rerun", "threads")


def differing_keys(one: DictConfig, other: DictConfig) -> list[str]:
    """Dotted keys in which two runs differ, in what they compute: where and when they run is left aside."""
    pair = [dict(flat_items(_comparable(cfg))) for cfg in (one, other)]
    return sorted(
        key for key in pair[0].keys() | pair[1].keys() if pair[0].get(key, pair) != pair[1].get(key, pair)
    )


def _comparable(cfg: DictConfig) -> dict[str, Any]:
    """Interpolations resolved; folders are replaced by their names."""
    copied = copy.deepcopy(cfg)
    single_values_as_lists(copied)
    make_paths_absolute(copied)
    if "logger" in copied:
        fix_identity(copied)  # before paths.name, which a W&B run is called by, is replaced
    with open_dict(copied):
        copied.pop("hydra", None)
        for key in copied.paths:
            copied.paths[key] = key
        # as train() saves it
        if isinstance(copied.validate_every, int) and isinstance(copied.trainer.max_steps, int):
            copied.validate_every = min(copied.validate_every, copied.trainer.max_steps)
    container = OmegaConf.to_container(copied, resolve=True, enum_to_str=True)
    assert isinstance(container, dict)
    for logger in container.get("logger", {}).values():
        if isinstance(logger, dict):
            logger.pop("id", None)
    return {str(key): value for key, value in container.items() if key not in _APART}
