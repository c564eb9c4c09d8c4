"""A composed configuration becomes the description of one run, finished here and nowhere else."""

import copy
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from srlab.app.checks import check_config, compile_mode, single_protocol
from srlab.app.config import LatencyLimitConfig, TrainConfig
from srlab.app.launch import typed_overrides
from srlab.app.resume import (
    adopt_unfinished,
    finished_score,
    in_new_folder,
    repeated_config,
    resumed_config,
    start_state,
)
from srlab.app.saved_config import AUTO, finish, savable, typed_again
from srlab.metrics.protocol import ProtocolConfig
from srlab.runs.contract import SWEEP_FILE
from srlab.runs.folder import RunFolder
from srlab.runs.provenance import provenance


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training run; its nodes are plain, resolved containers for ``hydra.utils.instantiate``."""

    folder: Path
    name: str
    scale: int
    seed: int
    threads: int | None
    """Of torch on a CPU; None: its own choice, which the run records and keeps."""
    matmul_precision: str
    max_steps: int
    validate_every: int
    protocol: ProtocolConfig
    metrics: tuple[str, ...]
    """Computed in validation."""
    compile_mode: str | None
    activation_checkpointing: bool
    initial_weights: Path | None
    saved_images: int
    latency: LatencyLimitConfig
    data_name: str
    """What ``data=…`` chooses."""
    data_roots: Mapping[str, Any]
    """Overrides that name the user's own data folders."""
    nodes: Mapping[str, Any]
    """``model data loss optimizer scheduler trainer callbacks logger``."""
    record: Mapping[str, Any]
    """What every checkpoint carries."""
    saved: Mapping[str, Any]
    """The content of ``config.yaml``."""
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
    run = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    cfg = _effective(cfg, run)
    check_config(cfg, run)
    finish(cfg)
    if cfg.resume == AUTO:
        adopt_unfinished(cfg, run)
    for logger in cfg.logger.values():
        if logger is not None and "id" in logger and logger.id is None:
            with open_dict(logger):
                logger.id = secrets.token_hex(4)  # one W&B run, however often it is stopped and resumed
    score = finished_score(cfg, run) if cfg.resume else None
    checkpoint = start_state(cfg, run) if cfg.resume and score is None else None
    return _run_config(cfg, run, checkpoint, score)


def _effective(cfg: DictConfig, run: RunFolder) -> DictConfig:
    """The configuration that ``resume=RUN``, ``rerun=RUN`` or ``--config-dir RUN`` stand for."""
    if OmegaConf.get_type(cfg) is not TrainConfig:
        cfg = in_new_folder(typed_again(cfg), str(run.path))
    if cfg.rerun and cfg.resume not in (None, AUTO):
        raise ValueError(f"rerun={cfg.rerun} starts a run and resume={cfg.resume} continues one: choose")
    if cfg.rerun:
        return repeated_config(cfg, typed_overrides())
    return cfg if cfg.resume in (None, AUTO) else resumed_config(Path(cfg.resume), typed_overrides())


def _run_config(cfg: DictConfig, run: RunFolder, checkpoint: Path | None, score: float | None) -> RunConfig:
    plain: Any = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    data_name = cfg.data._target_.rpartition(".")[-1]  # the functions are named as their files
    latency = OmegaConf.to_object(cfg.latency)
    assert isinstance(latency, LatencyLimitConfig)
    return RunConfig(
        folder=run.path,
        name=cfg.paths.name,
        scale=cfg.scale,
        seed=cfg.seed,
        threads=cfg.threads,
        matmul_precision=cfg.matmul_precision,
        max_steps=cfg.trainer.max_steps,
        validate_every=cfg.validate_every,
        protocol=single_protocol(cfg.protocol),
        metrics=tuple(cfg.metrics),
        compile_mode=compile_mode(cfg.compile),
        activation_checkpointing=cfg.activation_checkpointing,
        initial_weights=Path(cfg.initial_weights) if cfg.initial_weights else None,
        saved_images=cfg.saved_images,
        latency=latency,
        data_name=data_name,
        data_roots=_data_roots(plain["data"]) if data_name in ("folder", "images") else {},
        nodes={**plain, "logger": _logger_nodes(plain, run, data_name)},
        record={
            "name": cfg.paths.name,
            "model": plain["model"],
            "scale": cfg.scale,
            "protocol": list(cfg.protocol),
            "config": plain,
            "versions": provenance(),
        },
        saved=savable(cfg),
        checkpoint=checkpoint,
        finished_score=score,
    )


def _data_roots(data: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("root", "validation_root")
    return {f"data.{key}": data[key] for key in keys if data.get(key) is not None}


def _logger_nodes(plain: Mapping[str, Any], run: RunFolder, data_name: str) -> dict[str, Any]:
    """Loggers with an ``id`` belong to a tracker of runs: they get tags, and the sweep as their group."""
    nodes = copy.deepcopy({name: node for name, node in plain["logger"].items() if node is not None})
    above = run.path.absolute().parent
    network = plain["paths"]["name"].removesuffix(f"_x{plain['scale']}")
    tags = [network, f"x{plain['scale']}", data_name, *plain["protocol"]]
    for node in nodes.values():
        if "id" in node:
            node["tags"] = list(dict.fromkeys([*tags, *(node.get("tags") or ())]))
            if node.get("group") is None:
                node["group"] = above.name if (above / SWEEP_FILE).is_file() else None
    return nodes
