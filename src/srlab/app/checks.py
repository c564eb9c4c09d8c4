"""What cannot work is refused before anything is built or written."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from srlab.app.optimizers import check_fused
from srlab.app.resume import CONFIG_NAME
from srlab.config import TrainConfig
from srlab.models.network import AttentionNetwork, Network
from srlab.terminal.command_lines import typed_override

__all__ = [
    "check_kernels_train",
    "check_monitors",
    "check_room",
    "check_training",
    "compile_mode",
    "refuse_overrides",
]

# Modes of torch.compile; those that replay CUDA graphs need a GPU.
_COMPILE_MODES = ("default", "max-autotune-no-cudagraphs", "max-autotune", "reduce-overhead")
_MODES_WITH_GRAPHS = ("max-autotune", "reduce-overhead")

# Lightning's names of what keeps the weights in float32, and the short ones that it takes for them.
_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
_SHORT_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}

_WANDB_MODES = ("online", "offline", "disabled")
_OLDER_WANDB_MODES = ("run", "dryrun")  # W&B still reads them as the first two

# Recipes of x3 and x4 that start from x2 say so with this; ??? would not do, since a default outlives it.
_PLACEHOLDER = "RUN_OF_X2"


def check_training(cfg: DictConfig, fixed_trainer_keys: Iterable[str]) -> None:
    """Refuse combinations and values that would fail later, or be ignored.

    Args:
        cfg: the composed ``train`` configuration.
        fixed_trainer_keys: arguments of Lightning's Trainer that the run itself decides.

    Raises:
        ValueError: naming key, value and remedy.
    """
    _check_roots(cfg)
    _check_numbers(cfg)
    _check_precision(cfg)
    _check_scale(cfg)
    _check_compilation(cfg)
    check_fused(cfg)
    decided = sorted(set(fixed_trainer_keys) & cfg.trainer.keys())
    if decided:
        raise ValueError(
            f"trainer.{decided[0]} is decided by the run: steps come from trainer.max_steps, validation from "
            "validate_every, loggers and callbacks from their groups; leave it out"
        )
    _check_shift_schedule(cfg)
    _check_wandb(cfg)
    if cfg.initial_weights == _PLACEHOLDER and not cfg.resume:
        raise ValueError(
            "this recipe starts from its x2 network: give initial_weights=RUN_OR_FILE of it, or "
            "initial_weights=null to start from random weights"
        )
    folder = Path(cfg.paths.run)
    if not cfg.resume and (folder / CONFIG_NAME).exists():
        raise ValueError(
            f"{folder} already holds a run: go on with {typed_override('resume', folder)}, or name another "
            "folder"
        )


def _check_roots(cfg: DictConfig) -> None:
    """Hydra lets ``+KEY=…`` add anything; beside the roots of the schema nobody would read it."""
    known = {field.name for field in fields(TrainConfig)}
    for key in cfg:
        if key not in known:
            near = get_close_matches(str(key), known) or sorted(known)
            raise ValueError(f"+{key}=… adds what nothing reads; the nearest keys are {', '.join(near)}")


def _check_precision(cfg: DictConfig) -> None:
    precision = _SHORT_PRECISIONS.get(str(cfg.trainer.precision), str(cfg.trainer.precision))
    if precision not in _PRECISIONS:
        raise ValueError(
            f"trainer.precision={cfg.trainer.precision} is not supported: weights, validation and losses are "
            f"in float32; use {', '.join(_PRECISIONS[:-1])} or {_PRECISIONS[-1]}"
        )
    cfg.trainer.precision = precision


def _check_scale(cfg: DictConfig) -> None:
    for group in ("model", "data"):
        scale = cfg[group].get("scale", cfg.scale)
        if scale != cfg.scale:
            raise ValueError(
                f"{group}.scale={scale}, but scale={cfg.scale}: network, images and scores have one scale; "
                "set scale alone"
            )


def check_room(folder: Path, network: Network) -> None:
    """Refuse a folder that cannot take the first checkpoint.

    Args:
        folder: of the run.
        network: its weights, and two moments of each, are what a checkpoint holds at least.

    Raises:
        ValueError: with the room that there is and that is needed.
        OSError: nothing can be written there.
    """
    checkpoints = folder / "checkpoints"
    place = checkpoints if checkpoints.exists() else folder
    with tempfile.TemporaryFile(dir=place):
        pass
    learnt = sum(parameter.nbytes for parameter in network.parameters() if parameter.requires_grad)
    needed = sum(tensor.nbytes for tensor in network.state_dict().values()) + 2 * learnt
    free = shutil.disk_usage(place).free
    if free < needed:
        raise ValueError(
            f"a checkpoint needs {needed / 1e6:.1f} MB and {place} has room for {free / 1e6:.1f} MB: make "
            "room, or name another folder with hydra.run.dir=FOLDER"
        )


def check_monitors(callbacks: Iterable[object], validation_names: Sequence[str]) -> None:
    """Refuse callbacks that wait for a metric which no validation logs.

    Args:
        callbacks: of the trainer; those with a ``monitor`` are looked at.
        validation_names: of the validation sets.

    Raises:
        ValueError: naming the metric and those that there are.
    """
    metrics = ("psnr", "ssim")
    logged = [f"val/{metric}" for metric in metrics]
    logged += [f"val/{name}/{metric}" for name in validation_names for metric in metrics]
    logged.append("train/loss")
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        if isinstance(monitor, str) and monitor not in logged:
            raise ValueError(
                f"{type(callback).__name__} monitors {monitor!r}, which this run does not log; there are "
                f"{', '.join(logged)}"
            )


def _check_wandb(cfg: DictConfig) -> None:
    for name, logger in cfg.logger.items():
        mode = None if logger is None else logger.get("mode")
        if mode is not None and mode not in (*_WANDB_MODES, *_OLDER_WANDB_MODES):
            source = " (from WANDB_MODE)" if mode == os.environ.get("WANDB_MODE") else ""
            raise ValueError(
                f"logger.{name}.mode must be one of {', '.join(_WANDB_MODES)}, got {mode!r}{source}"
            )


def compile_mode(asked: object) -> str | None:
    """The mode of ``torch.compile`` that ``compile=…`` names; None for no compilation.

    Raises:
        ValueError: there is no such mode.
    """
    if isinstance(asked, bool):
        return "default" if asked else None
    if asked not in _COMPILE_MODES:
        raise ValueError(f"compile must be false, true or one of {', '.join(_COMPILE_MODES)}, got {asked!r}")
    return str(asked)


def _check_compilation(cfg: DictConfig) -> None:
    mode = compile_mode(cfg.compile)
    trains_on_cuda = torch.cuda.is_available() and cfg.trainer.accelerator in ("auto", "cuda", "gpu")
    if mode in _MODES_WITH_GRAPHS and not trains_on_cuda:
        raise ValueError(
            f"compile={mode} replays CUDA graphs, and this run trains without CUDA; use compile=true or "
            "compile=max-autotune-no-cudagraphs"
        )


def _check_shift_schedule(cfg: DictConfig) -> None:
    """The group must reach the network; its default means nothing was asked for."""
    asked = cfg.shift_schedule.pattern
    if asked == "alternate" or cfg.model.get("shift_schedule") == asked:
        return
    if "shift_schedule" not in cfg.model:
        raise ValueError(
            f"shift_schedule.pattern={asked} has no meaning for {cfg.model._target_}, "
            "which has no windows to shift; leave it out"
        )
    raise ValueError(
        f"the preset sets model.shift_schedule={cfg.model.shift_schedule} itself, so that shift_schedule="
        f"{asked} would have no effect; say model.shift_schedule={asked}"
    )


def refuse_overrides(keys: Iterable[str], reason: str) -> None:
    """Refuse what was typed but would have no effect.

    Args:
        keys: of groups or values; ``model`` stands for ``model.dim`` too.
        reason: why it has none, and what to do.

    Raises:
        ValueError: naming the first such override.
    """
    for override in HydraConfig.get().overrides.task:
        key = override.lstrip("+~").partition("=")[0]
        if any(key == refused or key.startswith(f"{refused}.") for refused in keys):
            raise ValueError(f"{override} would have no effect: {reason}")


def _check_numbers(cfg: DictConfig) -> None:
    counts = {
        "trainer.max_steps": cfg.trainer.max_steps,
        "trainer.accumulate_grad_batches": cfg.trainer.accumulate_grad_batches,
        "validate_every": cfg.validate_every,
    }
    if cfg.threads is not None:
        counts["threads"] = cfg.threads
    for key, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{key} must be an integer of at least 1, got {value!r}")
    if not isinstance(cfg.optimizer.lr, (int, float)) or not cfg.optimizer.lr >= 0:
        raise ValueError(f"optimizer.lr must be a number of at least 0, got {cfg.optimizer.lr!r}")
    steps, interval = cfg.trainer.max_steps, cfg.validate_every
    if steps > interval and steps % interval:
        raise ValueError(
            f"trainer.max_steps={steps} is no multiple of validate_every={interval}: the last steps would be "
            f"neither validated nor saved; set validate_every={_nearest_divisor(steps, interval)}, say"
        )


def _nearest_divisor(steps: int, wanted: int) -> int:
    """The divisor of ``steps`` that is nearest to ``wanted``."""
    small = [divisor for divisor in range(1, int(steps**0.5) + 1) if steps % divisor == 0]
    return min([*small, *(steps // divisor for divisor in small)], key=lambda divisor: abs(divisor - wanted))


def check_kernels_train(network: Network, device: torch.device) -> None:
    """Kernels without gradients are refused before training starts."""
    if isinstance(network, AttentionNetwork) and not network.has_gradients(device):
        backend = network.resolved_backend(device)
        raise ValueError(
            f"model.backend={backend} is for inference on a {device.type.upper()}; "
            "train with model.backend=auto, sdpa or reference"
        )
