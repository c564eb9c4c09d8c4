"""A training run: build, fit, score the best checkpoint next to bicubic."""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import LambdaCallback, ProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig
from torch import nn

from srlab.app.checks import (
    check_kernels_train,
    check_monitors,
    check_room,
    check_scales,
    check_two_optimizers,
    clips_under_autocast,
    compile_mode,
)
from srlab.app.initial_weights import start_from
from srlab.app.launch import check_launch, is_first_process, resume_command
from srlab.app.resolve import RunConfig, resolve
from srlab.app.run_report import RunReport
from srlab.app.saved_config import save_config
from srlab.data.datamodule import SuperResolutionData
from srlab.losses.adversarial import AdversarialLoss
from srlab.metrics.scoring import least_side
from srlab.models.registry import construct
from srlab.ops.subnormals import flush_subnormals, set_flush_subnormals
from srlab.runs.contract import SUMMARY_FILE, ResultLogger
from srlab.runs.folder import RunFolder, locked_run
from srlab.runs.provenance import provenance
from srlab.tasks.adversarial import AdversarialTask
from srlab.tasks.batch_norm_sync import BatchNormSync
from srlab.tasks.checkpoint_io import AtomicCheckpointIO, LastState, checkpoint_io_of
from srlab.tasks.costs import CostRecord
from srlab.tasks.curve_logger import CurveLogger
from srlab.tasks.interruption import GracefulStop, ending_of, stoppable
from srlab.tasks.optimization import Construct, optimizer_builder
from srlab.tasks.super_resolution import RandomScaleTask, SuperResolutionTask

log = logging.getLogger(__name__)


@flush_subnormals()
def train(cfg: DictConfig) -> float | None:
    """Fit, then score the best checkpoint.

    Args:
        cfg: the composed ``train`` configuration.

    Returns:
        Mean validation PSNR in dB of the best checkpoint, which sweeps maximize; None on other ranks than the
        first.

    Raises:
        ValueError: for combinations that cannot work, before anything is written.
        SystemExit: the run was stopped, with status 130 by Ctrl-C and 143 by SIGTERM; it can be resumed.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    with stoppable(), locked_run(folder) if is_first_process() else nullcontext():
        run = resolve(cfg)
        if run.finished_score is None:
            return _fit(run)
        log.info(
            "the run in %s is finished: %d steps, %.2f dB; to train longer:\n  %s trainer.max_steps=N",
            *(folder, run.cfg.trainer.max_steps, run.finished_score, resume_command(folder)),
        )
        return run.finished_score


def _fit(run: RunConfig) -> float | None:
    """Train from the checkpoint on, or from the start, and report."""
    cfg, mode = run.cfg, compile_mode(run.cfg.compile)
    _quieten()
    torch.set_float32_matmul_precision(cfg.matmul_precision)
    seed_everything(cfg.seed, verbose=False)
    network = construct(run.plain["model"])
    if cfg.initial_weights and run.checkpoint is None:
        start_from(network, Path(cfg.initial_weights))
    if is_first_process():
        check_room(run.folder, network)
    network.use_activation_checkpointing(cfg.activation_checkpointing)
    data: SuperResolutionData = instantiate(run.plain["data"])
    data.least_scored_side = least_side([run.protocol], cfg.metrics)
    loss: nn.Module = instantiate(run.plain["loss"])
    check_scales(cfg, network, loss)
    if isinstance(loss, AdversarialLoss):
        check_two_optimizers(cfg)
    task = _task_class(cfg, loss)(
        network=network,
        loss=loss,
        protocol=run.protocol,
        build_optimizer=configured_optimizer(run.plain["optimizer"], run.plain["trainer"]),
        build_scheduler=instantiate(run.plain["scheduler"]),
        compile_mode=mode,
        metrics=tuple(cfg.metrics),
        seed=cfg.seed,
        record={
            "name": cfg.paths.name,
            "model": run.plain["model"],
            "scale": cfg.scale,
            "protocol": list(cfg.protocol),
            "config": run.plain,
            "versions": provenance(),
        },
    )
    trainer = _trainer(run)
    check_kernels_train(network, trainer.strategy.root_device)
    if mode:
        log.info("compiling the training step: the first one takes minutes")
    return _fit_and_report(run, trainer, task, data)


def _task_class(cfg: DictConfig, loss: nn.Module) -> type[SuperResolutionTask]:
    if isinstance(loss, AdversarialLoss):
        return AdversarialTask
    return SuperResolutionTask if cfg.data.get("scale_range") is None else RandomScaleTask


def _fit_and_report(
    run: RunConfig, trainer: Trainer, task: SuperResolutionTask, data: SuperResolutionData
) -> float | None:
    status = "failed"
    try:
        trainer.fit(task, datamodule=data, ckpt_path=run.checkpoint, weights_only=True)
        if not trainer.is_global_zero:
            return None
        _fail_if_unsaved(trainer, run)
        _exit_if_stopped(trainer, run)
        ending = ending_of(trainer, planned=run.cfg.trainer.max_steps)
        if ending.steps == 0:
            raise ValueError(f"{ending}: there is nothing to report")
        report = RunReport.of(run, trainer, task, data, ending=ending)
        report.publish()
        if ending.cause is not None:
            log.warning("%s; to train longer:\n  %s", ending, resume_command(run.folder))
        status = "success"
        return report.best_psnr
    except Exception as error:
        _log_what_is_saved(trainer, run, error)
        raise
    finally:
        for logger in trainer.loggers:
            logger.finalize(status)
            if isinstance(logger, ResultLogger):
                logger.finish(exit_code=int(status != "success"))


def configured_optimizer(optimizer: Mapping[str, Any], trainer: Mapping[str, Any]) -> Construct:
    """What makes the optimizer that a configuration's sections ``optimizer`` and ``trainer`` describe."""
    node = dict(optimizer)
    fused = node.pop("fused", None)
    may_fuse = not clips_under_autocast(trainer)
    return optimizer_builder(instantiate(node, _convert_="all"), fused=fused, may_fuse=may_fuse)


def _trainer(run: RunConfig) -> Trainer:
    """Lightning's trainer, for one long epoch whose samples are numbered from 0.

    Validation, checkpoints and schedules count steps.
    """
    node = run.plain["trainer"]
    check_launch(node["devices"], node["num_nodes"])
    plugins: list[Any] = [AtomicCheckpointIO()]
    if node["sync_batchnorm"]:
        plugins.append(BatchNormSync())
    callbacks = _callbacks(run)
    # without callbacks.progress there is no bar; Lightning would add its own
    has_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
    return instantiate(
        {"enable_progress_bar": has_bar, **node},
        callbacks=callbacks,
        logger=_loggers(run),
        plugins=plugins,
        default_root_dir=str(run.folder),
        val_check_interval=run.cfg.validate_every * node["accumulate_grad_batches"],
        max_epochs=-1,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the data module shares out the samples itself
        enable_model_summary=False,
    )


def _loggers(run: RunConfig) -> list[Logger]:
    """The CSV curve, always, and those of the ``logger`` group."""
    loggers: list[Logger] = [instantiate(node) for node in run.loggers]
    for logger in loggers:
        logger.log_hyperparams(dict(run.plain))
    return [CurveLogger(run.folder), *loggers]


def _callbacks(run: RunConfig) -> list[Callback]:
    callbacks = [instantiate(node) for node in run.plain["callbacks"].values() if node is not None]
    if not any(isinstance(callback, GracefulStop) for callback in callbacks):
        raise ValueError("callbacks.stop saves a run that is stopped, and ends it: leave it as it is")
    latency = {**run.plain["latency"], "output_size": tuple(run.cfg.latency.output_size)}
    costs = CostRecord(folder=run.folder, limits=run.plain.get("limits", {}), **latency)
    # written once training has begun: a resume that fails must not change config.yaml
    beginning = LambdaCallback(on_train_start=lambda trainer, _task: _begin(trainer, run))
    last = LastState(checkpoint=RunFolder(run.folder).last_checkpoint)
    return [*callbacks, costs, beginning, last]


def _begin(trainer: Trainer, run: RunConfig) -> None:
    """The number of threads decides in which order a CPU sums up, so it is part of what a run computes."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    check_monitors(trainer.callbacks, data.validation_names, run.cfg.metrics)  # type: ignore[attr-defined]
    threads = run.cfg.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    set_flush_subnormals(True)  # in ranks that a strategy spawned; the others have it from train()
    if trainer.is_global_zero:
        run.cfg.threads = threads
        save_config(run.cfg, run.folder)
        # of a shorter run that is continued: it would mark this one as finished
        (run.folder / SUMMARY_FILE).unlink(missing_ok=True)


def _log_what_is_saved(trainer: Trainer, run: RunConfig, error: Exception) -> None:
    """After any failure: which state is saved, and how to resume from it."""
    store = checkpoint_io_of(trainer)
    if store.saved_step is None or not trainer.is_global_zero:
        return
    log.error(
        "%s after step %d of %d; the state of step %d is saved; to resume from it:\n  %s",
        *(type(error).__name__, trainer.global_step, run.cfg.trainer.max_steps, store.saved_step),
        resume_command(run.folder),
    )


def _fail_if_unsaved(trainer: Trainer, run: RunConfig) -> None:
    """Raise an ``OSError`` if the last state of the run is not on the disk."""
    store = checkpoint_io_of(trainer)
    if store.unsaved_step is None:
        return
    lost = "all of this training" if store.saved_step is None else f"what follows step {store.saved_step}"
    raise OSError(
        f"step {store.unsaved_step} could not be saved ({store.fault}): {lost} is lost. Make room, then "
        f"resume with\n  {resume_command(run.folder)}\nif that run has no checkpoint, start it again with "
        "resume=auto in the same folder"
    )


def _exit_if_stopped(trainer: Trainer, run: RunConfig) -> None:
    """A run that a signal ended has no result: print how to resume it."""
    stop = next(callback for callback in trainer.callbacks if isinstance(callback, GracefulStop))  # type: ignore[attr-defined]
    if stop.stopped_at is not None:
        log.warning("stopped after step %d; to resume:\n  %s", stop.stopped_at, resume_command(run.folder))
        sys.exit(128 + (stop.stopped_by or signal.SIGTERM))


def _quieten() -> None:
    """Silence messages of libraries that users of a run cannot act on."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # the banners of an offline run; the report says how to upload it
    os.environ.setdefault("WANDB_SILENT", "true")
    for message in (
        r".*isinstance\(treespec, LeafSpec\)` is deprecated",
        # the means that we log are summed over ranks already
        "It is recommended to use `self.log.*sync_dist=True",
        # a resumed run writes where it wrote before
        "Checkpoint directory .* exists and is not empty",
        # true for a loader that decodes images; ours copies crops from a memory map
        "The '.*_dataloader' does not have many workers",
        # true of every short run
        "The number of training batches .* is smaller than the logging interval",
    ):
        warnings.filterwarnings("ignore", message=message)
