"""What W&B's environment variables say of a run that is configured."""

import os
from typing import Any

from omegaconf import DictConfig, open_dict

__all__ = ["fix_identity", "wandb_variable"]

# What finds a run at W&B; decided once, when the run starts.
_IDENTITY = ("project", "entity", "name", "id", "group", "tags")


def wandb_variable(name: str, default: Any = None) -> Any:
    """The value of ``WANDB_<name>``, a resolver of the presets: the command line comes before it.

    Args:
        name: in capitals.
        default: where the variable is unset or empty; a list for a variable of several values, which are
            separated by commas.
    """
    value = os.environ.get(f"WANDB_{name}", "").strip()
    if not value:
        return default
    if isinstance(default, str) or default is None:
        return value
    return [word.strip() for word in value.split(",") if word.strip()]


def fix_identity(cfg: DictConfig) -> None:
    """Replace by their values what the environment decides once for a run, however often it is resumed."""
    for logger in cfg.logger.values():
        if logger is None:
            continue
        with open_dict(logger):
            for key in _IDENTITY:
                if key in logger:
                    logger[key] = logger[key]
