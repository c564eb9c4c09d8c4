"""A training run from its configuration: compose, fit, score the best checkpoint beside bicubic."""

import logging
import os
import secrets
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import Logger, WandbLogger
from omegaconf import DictConfig, OmegaConf, open_dict

import srlab
from srlab.checkpoints import read_checkpoint
from srlab.config import ProtocolConfig
from srlab.data.datamodule import SuperResolutionData
from srlab.models.network import Network
from srlab.presets import build_network
from srlab.runtime.resume import checkpoint_to_resume, resumed_config, save_config
from srlab.runtime.run_report import RunReport
from srlab.tasks.conditions import source_commit
from srlab.tasks.cost_record import CostRecord
from srlab.tasks.curve_logger import CurveLogger
from srlab.tasks.interruption import GracefulStop
from srlab.tasks.super_resolution import SuperResolutionTask

__all__ = ["train"]

log = logging.getLogger(__name__)

# What a shell reports for a program that Ctrl-C ended.
_INTERRUPTED = 130


def train(cfg: DictConfig) -> float | None:
    """Fit, then score the best checkpoint.

    Args:
        cfg: the composed ``train`` configuration.

    Returns:
        Mean validation PSNR in dB of the best checkpoint, which sweeps maximise; None on other ranks than the
        first.

    Raises:
        ValueError: for combinations that cannot work, before anything is written.
        SystemExit: with status 130 when the run was stopped by Ctrl-C; it can be resumed.
    """
    if cfg.resume:
        cfg = resumed_config(Path(cfg.resume), list(HydraConfig.get().overrides.task))
    _check(cfg)
    _quieten()
    torch.set_float32_matmul_precision(cfg.matmul_precision)
    seed_everything(cfg.seed, verbose=False)

    network = build_network(cfg.model)
    if cfg.initial_weights and not cfg.resume:
        start_from(network, Path(cfg.initial_weights))
    if cfg.compile:
        network.compile()
    data: SuperResolutionData = instantiate(cfg.data)
    callbacks = _callbacks(cfg)
    task = _task(cfg, network)
    trainer: Trainer = instantiate(
        cfg.trainer,
        callbacks=callbacks,
        logger=_loggers(cfg),
        default_root_dir=cfg.paths.run,
        # One long epoch whose samples are numbered from 0: validation, checkpoints and schedules count steps.
        max_epochs=-1,
        val_check_interval=cfg.validate_every * cfg.trainer.accumulate_grad_batches,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the data module shares out the samples itself
        enable_model_summary=False,
    )
    if trainer.is_global_zero:
        save_config(cfg, Path(cfg.paths.run))
    checkpoint = checkpoint_to_resume(Path(cfg.resume)) if cfg.resume else None
    trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)

    stop = next(callback for callback in callbacks if isinstance(callback, GracefulStop))
    if not trainer.is_global_zero:
        return None
    if stop.stopped_at is not None:
        log.warning(
            "stopped after step %d; go on with: python train.py resume=%s", stop.stopped_at, cfg.paths.run
        )
        _close(trainer, "failed")
        sys.exit(_INTERRUPTED)
    report = RunReport.of(cfg, trainer, task, data)
    report.publish()
    _close(trainer, "success")
    return report.best_psnr


def _check(cfg: DictConfig) -> None:
    """Refuse what cannot work while nothing has been written yet."""
    devices = cfg.trainer.devices
    if HydraConfig.get().mode == RunMode.MULTIRUN and devices not in (1, "1", "auto"):
        raise ValueError(
            f"a sweep cell cannot start trainer.devices={devices} processes: Lightning starts them by "
            "repeating the command line, and so the whole sweep; run the cells one by one, or with "
            "trainer.devices=1"
        )
    if "shift_schedule" not in cfg.model and cfg.shift_schedule.pattern != "alternate":
        raise ValueError(
            f"shift_schedule.pattern={cfg.shift_schedule.pattern} has no meaning for {cfg.model._target_}, "
            "which has no windows to shift; leave it out"
        )
    for key, steps in (("trainer.max_steps", cfg.trainer.max_steps), ("validate_every", cfg.validate_every)):
        if steps < 1:
            raise ValueError(f"{key} must be at least 1 optimizer step, got {steps}")


def start_from(network: Network, path: Path) -> None:
    """Copy the weights in ``path`` into ``network``.

    A network of the same kind and another scale lends all that fits; the rest, its head, keeps its start.

    Raises:
        ValueError: if the file holds another network.
    """
    source = read_checkpoint(path).network
    theirs, ours = source.state_dict(), network.state_dict()
    fitting = {key: value for key, value in theirs.items() if key in ours and ours[key].shape == value.shape}
    left_out = sorted(ours.keys() ^ theirs.keys() | (ours.keys() - fitting.keys()))
    another_scale = type(source) is type(network) and source.scale != network.scale
    if left_out and not (another_scale and len(fitting) > len(ours) // 2):
        raise ValueError(
            f"initial_weights={path} holds {type(source).__name__} x{source.scale}, which does not fit "
            f"{type(network).__name__} x{network.scale}: {len(left_out)} tensors differ "
            f"({', '.join(left_out[:4])} …)"
        )
    network.load_state_dict({**ours, **fitting})
    log.info(
        "started from %s (x%d); left at their initial values: %s",
        path,
        source.scale,
        ", ".join(left_out) or "none",
    )


def single_protocol(protocols: DictConfig) -> ProtocolConfig:
    """The one protocol that validation uses.

    Raises:
        ValueError: for several, or for one that is not a function of restored images.
    """
    if len(protocols) != 1:
        raise ValueError(
            f"validation scores under one protocol, got {', '.join(map(str, protocols)) or 'none'}; choose "
            "with protocol=[basicsr], and compare several with evaluate.py"
        )
    protocol = OmegaConf.to_object(next(iter(protocols.values())))
    assert isinstance(protocol, ProtocolConfig)
    if protocol.bicubic_only:
        raise ValueError(
            f"protocol={protocol.name} is defined for bicubic only; train with protocol=[basicsr]"
        )
    return protocol


def _task(cfg: DictConfig, network: Network) -> SuperResolutionTask:
    return SuperResolutionTask(
        network=network,
        loss=instantiate(cfg.loss),
        protocol=single_protocol(cfg.protocol),
        build_optimizer=instantiate(cfg.optimizer),
        build_scheduler=instantiate(cfg.scheduler),
        record={
            "name": cfg.paths.name,
            "model": OmegaConf.to_container(cfg.model, resolve=True),
            "scale": cfg.scale,
            "protocol": list(cfg.protocol),
            "config": OmegaConf.to_container(cfg, resolve=True, enum_to_str=True),
            "versions": _versions(),
        },
    )


def _quieten() -> None:
    """Leave out what the libraries say that no user of a run can act on."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # the banners of an offline run; the report says how to upload it
    os.environ.setdefault("WANDB_SILENT", "true")
    # Lightning cannot know that our samples are numbered and go on at the right one
    warnings.filterwarnings(
        "ignore", message="You're resuming from a checkpoint that ended before the epoch ended"
    )
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)` is deprecated")
    # the means that we log are summed over ranks already
    warnings.filterwarnings("ignore", message="It is recommended to use `self.log.*sync_dist=True")
    # a resumed run writes where it wrote before
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    # true for a loader that decodes images; ours copies crops from a memory map
    warnings.filterwarnings("ignore", message="The '.*_dataloader' does not have many workers")


def _versions() -> dict[str, str | None]:
    return {
        "srlab": srlab.__version__,
        "torch": str(torch.__version__),
        "lightning": lightning.__version__,
        "commit": source_commit(),
    }


def _callbacks(cfg: DictConfig) -> list[Callback]:
    callbacks = [instantiate(node) for node in cfg.callbacks.values() if node is not None]
    costs = CostRecord(
        output_size=tuple(cfg.latency.output_size), warmup=cfg.latency.warmup, repeats=cfg.latency.repeats
    )
    return [*callbacks, costs]


def _loggers(cfg: DictConfig) -> list[Logger]:
    """The CSV curve, always, and whatever the logger group names."""
    loggers: list[Logger] = [CurveLogger(Path(cfg.paths.run))]
    for name, node in cfg.logger.items():
        if name == "wandb" and node.id is None:
            # one W&B run, however often it is stopped and resumed: its name is kept with the configuration
            with open_dict(cfg):
                node.id = secrets.token_hex(4)
        logger: Logger = instantiate(node)
        if isinstance(logger, WandbLogger):
            logger._wandb_init.pop(
                "anonymous", None
            )  # wandb 0.31 warns of it, and Lightning 2.6 always passes it
            config: Any = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
            logger.log_hyperparams(config)
        loggers.append(logger)
    return loggers


def _close(trainer: Trainer, status: str) -> None:
    """Let every logger finish, so that the next run of a sweep starts its own."""
    for logger in trainer.loggers:
        logger.finalize(status)
        if isinstance(logger, WandbLogger):
            logger.experiment.finish(exit_code=int(status != "success"))
