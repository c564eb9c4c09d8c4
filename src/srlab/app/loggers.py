"""Where a run's metrics go: the CSV curve, always, and whatever the logger group names."""

import logging
import os
import secrets
import warnings
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf, open_dict

from srlab.extensions.wandb.logger import TolerantWandbLogger
from srlab.tasks.curve_logger import CurveLogger

__all__ = ["build_loggers", "close_loggers", "quieten", "wandb_tags"]

# What a sweep writes into its folder, above those of its cells.
_SWEEP_FILE = "sweep.json"


def quieten() -> None:
    """Leave out what the libraries say that no user of a run can act on."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # the banners of an offline run; the report says how to upload it
    os.environ.setdefault("WANDB_SILENT", "true")
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)` is deprecated")
    # the means that we log are summed over ranks already
    warnings.filterwarnings("ignore", message="It is recommended to use `self.log.*sync_dist=True")
    # a resumed run writes where it wrote before
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    # true for a loader that decodes images; ours copies crops from a memory map
    warnings.filterwarnings("ignore", message="The '.*_dataloader' does not have many workers")


def build_loggers(cfg: DictConfig) -> list[Logger]:
    """The CSV curve and the loggers of ``cfg.logger``; a W&B run gets an id there, once."""
    loggers: list[Logger] = [CurveLogger(Path(cfg.paths.run))]
    for name, node in cfg.logger.items():
        if node is None:
            continue
        if name == "wandb":
            loggers.append(_wandb_logger(cfg, node))
        else:
            loggers.append(instantiate(node))
    return loggers


def close_loggers(trainer: Trainer, status: str) -> None:
    """Let every logger finish, so that the next run of this process starts its own."""
    for logger in trainer.loggers:
        logger.finalize(status)
        if isinstance(logger, TolerantWandbLogger):
            logger.finish(exit_code=int(status != "success"))


def wandb_tags(cfg: DictConfig) -> list[str]:
    """Network, scale, data and protocol of a run, then the user's own tags, each once."""
    network = cfg.paths.name.removesuffix(f"_x{cfg.scale}")
    data = cfg.data._target_.rpartition(".")[-1]
    return list(dict.fromkeys([network, f"x{cfg.scale}", data, *cfg.protocol, *cfg.logger.wandb.tags]))


def _wandb_logger(cfg: DictConfig, node: DictConfig) -> Logger:
    if node.id is None:
        # one W&B run, however often it is stopped and resumed: its name is kept with the configuration
        with open_dict(cfg):
            node.id = secrets.token_hex(4)
    logger: Logger = instantiate(
        node,
        group=node.group or _sweep_of(Path(cfg.paths.run)),
        tags=wandb_tags(cfg),
        save_dir=node.save_dir or cfg.paths.run,  # an empty WANDB_DIR is as good as none
    )
    config: Any = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    logger.log_hyperparams(config)
    return logger


def _sweep_of(run: Path) -> str | None:
    """Name of the sweep that a run is a cell of, which is that of the folder above."""
    above = run.absolute().parent
    return above.name if (above / _SWEEP_FILE).is_file() else None
