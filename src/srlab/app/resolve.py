"""Makes the description of a run, :class:`RunConfig`, of a composed configuration."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from srlab.app.checks import check_complete, check_config, single_protocol
from srlab.app.config import TrainConfig
from srlab.app.launch import typed_overrides
from srlab.app.resume import (
    adopt_unfinished,
    finished_score,
    in_new_folder,
    repeated_config,
    resumed_config,
    start_state,
)
from srlab.app.saved_config import AUTO, finish, trackers, typed_again
from srlab.metrics.protocol import ProtocolConfig
from srlab.runs.contract import SWEEP_FILE
from srlab.runs.folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training run: its finished configuration and the state that it starts from."""

    folder: Path
    cfg: DictConfig
    """With the types of the schema."""
    plain: dict[str, Any]
    """The same in plain containers, interpolations resolved."""
    data_name: str
    """What ``data=…`` chooses; the functions are named as their files."""
    loggers: list[dict[str, Any]]
    """Nodes for ``hydra.utils.instantiate``."""
    protocol: ProtocolConfig
    checkpoint: Path | None
    """The state to continue from; None for a new run."""
    finished_score: float | None
    """Validation score of a run that has nothing left to do."""


def resolve(cfg: DictConfig) -> RunConfig:
    """Finish the composed ``train`` configuration; the run's folder is locked.

    Raises:
        ValueError: a combination that cannot work, or a state that cannot be resumed; nothing is written.
        FileNotFoundError: there is nothing to resume.
    """
    check_complete(cfg, HydraConfig.get().runtime.choices)
    run = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    cfg = _effective(cfg, run)
    check_config(cfg, run)
    finish(cfg)
    if cfg.resume == AUTO:
        adopt_unfinished(cfg, run)
    for logger in trackers(cfg).values():
        # one W&B run, however often it is stopped and resumed
        logger.id = logger.id or secrets.token_hex(4)
    score = finished_score(cfg, run) if cfg.resume else None
    plain: Any = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    data_name = plain["data"]["_target_"].rpartition(".")[-1]
    return RunConfig(
        folder=run.path,
        cfg=cfg,
        plain=plain,
        data_name=data_name,
        loggers=_loggers(plain, data_name, run.path.absolute().parent),
        protocol=single_protocol(cfg.protocol),
        checkpoint=start_state(cfg, run) if cfg.resume and score is None else None,
        finished_score=score,
    )


def _effective(cfg: DictConfig, run: RunFolder) -> DictConfig:
    """The configuration that ``resume=RUN``, ``rerun=RUN`` or ``--config-dir RUN`` stand for."""
    if OmegaConf.get_type(cfg) is not TrainConfig:
        cfg = in_new_folder(typed_again(cfg), str(run.path))
    if cfg.rerun and cfg.resume not in (None, AUTO):
        raise ValueError(f"rerun={cfg.rerun} starts a run and resume={cfg.resume} continues one: give one")
    if cfg.rerun:
        return repeated_config(cfg, typed_overrides())
    return cfg if cfg.resume in (None, AUTO) else resumed_config(Path(cfg.resume), typed_overrides())


def _loggers(plain: Mapping[str, Any], data_name: str, above: Path) -> list[dict[str, Any]]:
    """Loggers with an ``id`` belong to a tracker of runs: they get tags, and the sweep as their group."""
    scale = f"x{plain['scale']}"
    tags = [plain["paths"]["name"].removesuffix(f"_{scale}"), scale, data_name, *plain["protocol"]]
    sweep = above.name if (above / SWEEP_FILE).is_file() else None
    loggers = [dict(node) for node in plain["logger"].values() if node is not None]
    for node in loggers:
        if "id" in node:
            node["tags"] = list(dict.fromkeys([*tags, *(node.get("tags") or ())]))
            if node.get("group") is None:
                node["group"] = sweep
    return loggers
