"""A training run from its configuration: compose, fit, score the best checkpoint beside bicubic."""

import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import LambdaCallback, ProgressBar
from omegaconf import DictConfig, OmegaConf

from srlab.app.checks import check_kernels_train, check_monitors, check_room, check_training, compile_mode
from srlab.app.command_line import typed_overrides
from srlab.app.initial_weights import start_from
from srlab.app.launch import is_first_process
from srlab.app.list_values import single_values_as_lists
from srlab.app.loggers import build_loggers, close_loggers, quieten
from srlab.app.optimizers import optimizer_builder
from srlab.app.own_paths import make_paths_absolute
from srlab.app.plugins import trainer_plugins
from srlab.app.presets import build_network
from srlab.app.resume import SUMMARY_NAME, resume_command, save_config
from srlab.app.run_report import RunReport
from srlab.app.starting_point import effective_config, starting_point
from srlab.data.datamodule import SuperResolutionData
from srlab.metrics.protocol import ProtocolConfig
from srlab.metrics.scoring import least_side
from srlab.models.network import Network
from srlab.ops.subnormals import flush_subnormals, set_flush_subnormals
from srlab.runs.lock import locked_run
from srlab.runs.versions import versions
from srlab.tasks.checkpoint_io import WholeCheckpoints
from srlab.tasks.cost_record import CostRecord
from srlab.tasks.ending import ending_of
from srlab.tasks.interruption import GracefulStop, stoppable
from srlab.tasks.last_state import LastState
from srlab.tasks.random_state import StepSeed
from srlab.tasks.super_resolution import SuperResolutionTask

__all__ = ["train"]

log = logging.getLogger(__name__)

# Arguments of the Trainer that make a run one long epoch whose samples are numbered from 0: validation,
# checkpoints and schedules count steps.
_FIXED = {
    "max_epochs": -1,
    "check_val_every_n_epoch": None,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,  # the data module shares out the samples itself
    "enable_model_summary": False,
}


@flush_subnormals()
def train(cfg: DictConfig) -> float | None:
    """Fit, then score the best checkpoint.

    Args:
        cfg: the composed ``train`` configuration.

    Returns:
        Mean validation PSNR in dB of the best checkpoint, which sweeps maximise; None on other ranks than the
        first.

    Raises:
        ValueError: for combinations that cannot work, before anything is written.
        SystemExit: when the run was stopped, with status 130 by Ctrl-C and 143 by SIGTERM; it can be resumed.
    """
    cfg = effective_config(cfg, typed_overrides())
    single_values_as_lists(cfg)
    folder = Path(cfg.paths.run)
    with stoppable(), locked_run(folder) if is_first_process() else nullcontext():
        check_training(
            cfg, {*_FIXED, "val_check_interval", "callbacks", "logger", "plugins", "default_root_dir"}
        )
        make_paths_absolute(cfg)
        # a run that is shorter than the interval is validated and saved at its end
        cfg.validate_every = min(cfg.validate_every, cfg.trainer.max_steps)
        start = starting_point(cfg)
        if start.finished_psnr is None:
            return _fit(start.cfg, start.checkpoint)
        log.info(
            "the run in %s is finished: %d steps, %.2f dB; to train on:\n  %s trainer.max_steps=N",
            *(folder, cfg.trainer.max_steps, start.finished_psnr, resume_command(folder)),
        )
        return start.finished_psnr


def _fit(cfg: DictConfig, checkpoint: Path | None) -> float | None:
    """Train from the checkpoint on, or from the start, and report."""
    quieten()
    torch.set_float32_matmul_precision(cfg.matmul_precision)
    seed_everything(cfg.seed, verbose=False)
    network = build_network(cfg.model)
    if cfg.initial_weights and checkpoint is None:
        start_from(network, Path(cfg.initial_weights))
    if is_first_process():
        check_room(Path(cfg.paths.run), network)
    network.use_activation_checkpointing(cfg.activation_checkpointing)
    data: SuperResolutionData = instantiate(cfg.data)
    data.least_scored_side = least_side([single_protocol(cfg.protocol)])
    task = _task(cfg, network)
    callbacks = _callbacks(cfg)
    trainer: Trainer = instantiate(
        cfg.trainer,
        callbacks=callbacks,
        logger=build_loggers(cfg),
        plugins=trainer_plugins(cfg),
        default_root_dir=cfg.paths.run,
        val_check_interval=cfg.validate_every * cfg.trainer.accumulate_grad_batches,
        **_progress(cfg, callbacks),
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
        _fail_if_unsaved(trainer, cfg)
        _exit_if_stopped(trainer, cfg)
        ending = ending_of(trainer, planned=cfg.trainer.max_steps)
        if ending.steps == 0:
            raise ValueError(f"{ending}: there is nothing to report")
        report = RunReport.of(cfg, trainer, task, data, ending=ending)
        report.publish()
        if ending.cause is not None:
            log.warning("%s; to train on:\n  %s", ending, resume_command(cfg.paths.run))
        status = "success"
        return report.best_psnr
    except Exception as error:
        _say_what_is_saved(trainer, cfg, error)
        raise
    finally:
        close_loggers(trainer, status)


def _progress(cfg: DictConfig, callbacks: Sequence[Callback]) -> dict[str, bool]:
    """Without ``callbacks.progress`` there is no bar; Lightning would take its own."""
    if "enable_progress_bar" in cfg.trainer:
        return {}
    return {"enable_progress_bar": any(isinstance(callback, ProgressBar) for callback in callbacks)}


def _say_what_is_saved(trainer: Trainer, cfg: DictConfig, error: Exception) -> None:
    """Whatever failed, the state is worth more: where it is and how to resume from it."""
    store = trainer.strategy.checkpoint_io
    assert isinstance(store, WholeCheckpoints)
    if store.saved_step is None or not trainer.is_global_zero:
        return
    log.error(
        "%s after step %d of %d; the state of step %d is saved; to resume from it:\n  %s",
        *(type(error).__name__, trainer.global_step, cfg.trainer.max_steps, store.saved_step),
        resume_command(cfg.paths.run),
    )


def _fail_if_unsaved(trainer: Trainer, cfg: DictConfig) -> None:
    """The last state of the run must be on the disk.

    Raises:
        OSError: saying what is lost and how to go on.
    """
    store = trainer.strategy.checkpoint_io
    assert isinstance(store, WholeCheckpoints)
    if store.unsaved_step is None:
        return
    kept = (
        f"what follows step {store.saved_step}" if store.saved_step is not None else "what this call learnt"
    )
    raise OSError(
        f"step {store.unsaved_step} could not be saved ({store.fault}): {kept} is lost. Make room, then go "
        f"on with\n  {resume_command(cfg.paths.run)}\nif that run has no checkpoint, start it again with "
        "resume=auto in the same folder"
    )


def _exit_if_stopped(trainer: Trainer, cfg: DictConfig) -> None:
    """A run that a signal ended is no result: say how to go on with it."""
    stop = next(callback for callback in trainer.callbacks if isinstance(callback, GracefulStop))  # type: ignore[attr-defined]
    if stop.stopped_at is not None:
        log.warning("stopped after step %d; to resume:\n  %s", stop.stopped_at, resume_command(cfg.paths.run))
        sys.exit(128 + (stop.stopped_by or signal.SIGTERM))


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
            "versions": versions(),
        },
    )


def _callbacks(cfg: DictConfig) -> list[Callback]:
    callbacks = [instantiate(node) for node in cfg.callbacks.values() if node is not None]
    if not any(isinstance(callback, GracefulStop) for callback in callbacks):
        raise ValueError("callbacks.stop saves a run that is stopped, and ends it: leave it as it is")
    costs = CostRecord(
        folder=Path(cfg.paths.run),
        output_size=tuple(cfg.latency.output_size),
        warmup=cfg.latency.warmup,
        repeats=cfg.latency.repeats,
        limit_ms=cfg.latency.limit_ms,
    )
    # written once training has begun: a resume that fails must not leave its configuration behind
    beginning = LambdaCallback(on_train_start=lambda trainer, _task: _begin(trainer, cfg))
    last = LastState(checkpoint=Path(cfg.paths.run) / "checkpoints" / "last.ckpt")
    return [*callbacks, StepSeed(seed=cfg.seed), costs, beginning, last]


def _begin(trainer: Trainer, cfg: DictConfig) -> None:
    """The number of threads decides in which order a CPU sums up: it belongs to what a run computes."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    check_monitors(trainer.callbacks, data.validation_names)  # type: ignore[attr-defined]
    if cfg.threads is None:
        cfg.threads = torch.get_num_threads()
    torch.set_num_threads(cfg.threads)
    set_flush_subnormals(True)  # in ranks that a strategy spawned; the others have it from train()
    if trainer.is_global_zero:
        save_config(cfg, Path(cfg.paths.run))
        # of a shorter run that goes on: its presence would say that this one is finished
        (Path(cfg.paths.run) / SUMMARY_NAME).unlink(missing_ok=True)
