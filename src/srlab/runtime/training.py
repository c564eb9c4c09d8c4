"""A training run from its configuration: compose, fit, score the best checkpoint beside bicubic."""

import logging
import shlex
import sys
from pathlib import Path

import lightning
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import LambdaCallback
from omegaconf import DictConfig, OmegaConf

import srlab
from srlab.config import ProtocolConfig
from srlab.data.datamodule import SuperResolutionData
from srlab.models.network import Network
from srlab.presets import build_network
from srlab.runtime.checks import check_kernels_train, check_training, compile_mode
from srlab.runtime.initial_weights import start_from
from srlab.runtime.loggers import build_loggers, close_loggers, quieten
from srlab.runtime.optimizers import optimizer_builder
from srlab.runtime.resume import checkpoint_to_resume, resumed_config, save_config
from srlab.runtime.run_report import RunReport
from srlab.tasks.conditions import source_commit
from srlab.tasks.cost_record import CostRecord
from srlab.tasks.interruption import GracefulStop
from srlab.tasks.super_resolution import SuperResolutionTask

__all__ = ["train"]

log = logging.getLogger(__name__)

# What a shell reports for a program that Ctrl-C ended.
_INTERRUPTED = 130

# Arguments of the Trainer that make a run one long epoch whose samples are numbered from 0: validation,
# checkpoints
# and schedules count steps.
_FIXED = {
    "max_epochs": -1,
    "check_val_every_n_epoch": None,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,  # the data module shares out the samples itself
    "enable_model_summary": False,
}


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
    check_training(cfg, {*_FIXED, "val_check_interval", "callbacks", "logger", "default_root_dir"})
    # a run that is shorter than the interval is validated and saved at its end
    cfg.validate_every = min(cfg.validate_every, cfg.trainer.max_steps)
    checkpoint = checkpoint_to_resume(Path(cfg.resume)) if cfg.resume else None
    quieten()
    torch.set_float32_matmul_precision(cfg.matmul_precision)
    seed_everything(cfg.seed, verbose=False)

    network = build_network(cfg.model)
    if cfg.initial_weights and not cfg.resume:
        start_from(network, Path(cfg.initial_weights))
    network.use_activation_checkpointing(cfg.activation_checkpointing)
    data: SuperResolutionData = instantiate(cfg.data)
    task = _task(cfg, network)
    trainer: Trainer = instantiate(
        cfg.trainer,
        callbacks=_callbacks(cfg),
        logger=build_loggers(cfg),
        default_root_dir=cfg.paths.run,
        val_check_interval=cfg.validate_every * cfg.trainer.accumulate_grad_batches,
        **_FIXED,
    )
    check_kernels_train(network, trainer.strategy.root_device)
    if cfg.compile:
        log.info("compiling the training step: the first one takes minutes")
    status = "failed"
    try:
        trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        if not trainer.is_global_zero:
            return None
        _exit_if_stopped(trainer, cfg)
        report = RunReport.of(cfg, trainer, task, data)
        report.publish()
        status = "success"
        return report.best_psnr
    finally:
        close_loggers(trainer, status)


def _exit_if_stopped(trainer: Trainer, cfg: DictConfig) -> None:
    """A run that Ctrl-C ended is no result: say how to go on with it."""
    stop = next(callback for callback in trainer.callbacks if isinstance(callback, GracefulStop))  # type: ignore[attr-defined]
    if stop.stopped_at is not None:
        resume = shlex.quote(f"resume={cfg.paths.run}")
        log.warning("stopped after step %d; go on with: python train.py %s", stop.stopped_at, resume)
        sys.exit(_INTERRUPTED)


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
        build_optimizer=optimizer_builder(cfg),
        build_scheduler=instantiate(cfg.scheduler),
        compile_mode=compile_mode(cfg.compile),
        record={
            "name": cfg.paths.name,
            "model": OmegaConf.to_container(cfg.model, resolve=True),
            "scale": cfg.scale,
            "protocol": list(cfg.protocol),
            "config": OmegaConf.to_container(cfg, resolve=True, enum_to_str=True),
            "versions": _versions(),
        },
    )


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
        folder=Path(cfg.paths.run),
        output_size=tuple(cfg.latency.output_size),
        warmup=cfg.latency.warmup,
        repeats=cfg.latency.repeats,
    )
    # written once training has begun: a resume that fails must not leave its configuration behind
    saving = LambdaCallback(on_train_start=lambda trainer, _task: _save_config(trainer, cfg))
    return [*callbacks, costs, saving]


def _save_config(trainer: Trainer, cfg: DictConfig) -> None:
    if trainer.is_global_zero:
        save_config(cfg, Path(cfg.paths.run))
