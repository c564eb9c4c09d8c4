"""Checks of the configuration, before anything is built or written."""

import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING, DictConfig, OmegaConf
from torch import nn

from srlab.app.config import TrainConfig
from srlab.app.launch import typed_overrides
from srlab.app.saved_config import flat
from srlab.losses.adversarial import AdversarialLoss
from srlab.losses.charbonnier import CharbonnierLoss
from srlab.losses.l1 import L1Loss
from srlab.metrics.protocol import ProtocolConfig
from srlab.models.any_scale import AnyScale
from srlab.models.network import AttentionNetwork, Network
from srlab.runs.contract import CHECKPOINTS_FOLDER, CONFIG_FILE, TRAIN_LOSS, validation_key
from srlab.runs.folder import RunFolder
from srlab.terminal.command_lines import typed_override

# Modes of torch.compile; those that replay CUDA graphs need a GPU.
_COMPILE_MODES = ("default", "max-autotune-no-cudagraphs", "max-autotune", "reduce-overhead")
_MODES_WITH_GRAPHS = ("max-autotune", "reduce-overhead")

# Those that keep the weights in float32, and Lightning's short names of them.
_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "32", "bf16", "16")

# Arguments of the Trainer that the run itself decides.
_DECIDED = {
    *("callbacks", "logger", "plugins", "default_root_dir", "enable_model_summary"),
    *("max_epochs", "check_val_every_n_epoch", "val_check_interval", "num_sanity_val_steps"),
    "use_distributed_sampler",
}

# What recipes that start from another network hold; ??? would not do, since the schema's default replaces it.
_PLACEHOLDERS = {
    "RUN_OF_X2": "its x2 network",
    "RUN_OF_X3": "its x3 network",
    "RUN_OF_PSNR": "the network of its first stage, experiment=esc_real_psnr_x4",
}


def check_config(cfg: DictConfig, run: RunFolder) -> None:
    """Refuse what would fail later, or be ignored.

    Args:
        cfg: the composed ``train`` configuration.
        run: the folder that it would be trained in.

    Raises:
        ValueError: with key, value and remedy, as in all functions of this module.
    """
    # Hydra lets +KEY=… add anything; a root key that is not in the schema would have no effect
    unknown = sorted(str(key) for key in cfg.keys() - {field.name for field in fields(TrainConfig)})
    if unknown:
        raise ValueError(f"+{unknown[0]}=… adds an unknown key; leave it out, or name the group it is in")
    _check_numbers(cfg)
    precision, decided = str(cfg.trainer.precision), sorted(_DECIDED & cfg.trainer.keys())
    if precision not in _PRECISIONS:
        raise ValueError(
            f"trainer.precision={precision} is not supported: weights, validation and losses are in float32; "
            "use 32-true, bf16-mixed or 16-mixed"
        )
    if decided:
        raise ValueError(
            f"trainer.{decided[0]} is decided by the run: steps come from trainer.max_steps, validation from "
            "validate_every, loggers and callbacks from their groups; leave it out"
        )
    for group in ("model", "data"):
        if (scale := cfg[group].get("scale", cfg.scale)) != cfg.scale:
            raise ValueError(
                f"{group}.scale={scale}, but scale={cfg.scale}: network, images and scores have one scale; "
                "set scale alone"
            )
    compile_mode(cfg.compile, accelerator=cfg.trainer.accelerator)
    check_fused(cfg.optimizer.get("fused"), cfg.trainer)
    _check_shift_schedule(cfg)
    single_protocol(cfg.protocol)
    _check_start(cfg, run)


def check_complete(cfg: DictConfig, choices: Mapping[str, str]) -> None:
    """Refuse a configuration in which a value of a group is left open, by a ``ValueError`` that names it.

    Args:
        cfg: the composed configuration.
        choices: what was chosen of each group, as Hydra records it.
    """
    written = flat(cfg, resolve=False)
    missing = sorted(key for key, value in written.items() if "." in key and value == MISSING)
    if missing:
        group = missing[0].partition(".")[0]
        chosen = f"{group}={choices[group]}" if group in choices else group
        needed = [key for key in missing if key.startswith(f"{group}.")]
        raise ValueError(f"{chosen} needs {' '.join(f'{key}=VALUE' for key in needed)}")


def _check_start(cfg: DictConfig, run: RunFolder) -> None:
    if cfg.initial_weights in _PLACEHOLDERS and not cfg.resume:
        source = _PLACEHOLDERS[cfg.initial_weights]
        raise ValueError(
            f"this recipe starts from {source}: give initial_weights=RUN_OR_FILE of it, or "
            "initial_weights=null to start from random weights"
        )
    if not cfg.resume and (run.path / CONFIG_FILE).exists():
        raise ValueError(
            f"{run.path} already holds a run: resume it with {typed_override('resume', run.path)}, or name "
            "another folder"
        )


def _check_numbers(cfg: DictConfig) -> None:
    steps, interval = cfg.trainer.max_steps, cfg.validate_every
    counts = {
        "trainer.max_steps": steps,
        "trainer.accumulate_grad_batches": cfg.trainer.accumulate_grad_batches,
        "validate_every": interval,
        "threads": 1 if cfg.threads is None else cfg.threads,
    }
    for key, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{key} must be an integer of at least 1, got {value!r}")
    if not isinstance(cfg.optimizer.lr, (int, float)) or not cfg.optimizer.lr >= 0:
        raise ValueError(f"optimizer.lr must be a number of at least 0, got {cfg.optimizer.lr!r}")
    if steps > interval and steps % interval:
        divisors = (each for each in range(1, steps + 1) if steps % each == 0)
        nearest = min(divisors, key=lambda divisor: abs(divisor - interval))
        raise ValueError(
            f"trainer.max_steps={steps} is not a multiple of validate_every={interval}: the last steps would "
            f"be neither validated nor saved; set, for example, validate_every={nearest}"
        )


def compile_mode(asked: object, *, accelerator: str = "auto") -> str | None:
    """The mode of ``torch.compile`` that ``compile=…`` asks for; None for no compilation."""
    if isinstance(asked, bool):
        return "default" if asked else None
    if asked not in _COMPILE_MODES:
        raise ValueError(f"compile must be false, true or one of {', '.join(_COMPILE_MODES)}, got {asked!r}")
    trains_on_cuda = torch.cuda.is_available() and accelerator in ("auto", "cuda", "gpu")
    if asked in _MODES_WITH_GRAPHS and not trains_on_cuda:
        raise ValueError(
            f"compile={asked} replays CUDA graphs, and this run trains without CUDA; use compile=true or "
            "compile=max-autotune-no-cudagraphs"
        )
    return str(asked)


def check_fused(fused: object, trainer: Mapping[Any, Any]) -> None:
    """Refuse a value of ``optimizer.fused`` that cannot be met."""
    if fused not in (None, True, False, "auto"):
        raise ValueError(f"optimizer.fused must be auto, true or false, got {fused!r}")
    if fused is True and clips_under_autocast(trainer):
        raise ValueError(
            "optimizer.fused=true cannot be combined with "
            f"trainer.gradient_clip_val={trainer['gradient_clip_val']} and "
            f"trainer.precision={trainer['precision']}: a fused step unscales its gradients itself, too late "
            "to clip them; use optimizer.fused=auto or false"
        )


def check_two_optimizers(cfg: DictConfig) -> None:
    """Refuse settings that do not work with an adversarial loss and its second optimizer."""
    trainer = cfg.trainer
    refused = {
        "trainer.accumulate_grad_batches": (trainer.accumulate_grad_batches, (1,)),
        "trainer.gradient_clip_val": (trainer.gradient_clip_val, (None, 0)),
        "trainer.precision": (str(trainer.precision), ("32-true", "32", "bf16-mixed", "bf16")),
        "on_nan": (cfg.on_nan, ("stop",)),
    }
    for key, (value, possible) in refused.items():
        if value not in possible:
            raise ValueError(
                f"{key}={value} does not work with an adversarial loss, which takes two optimizer steps for "
                f"each batch: use {key}={'null' if possible[0] is None else possible[0]}"
            )


def check_scales(cfg: DictConfig, network: Network, loss: nn.Module) -> None:
    """Refuse several scales where the network, the loss or the compiler has one."""
    scales, compared = cfg.data.get("scale_range"), cfg.data.get("compared_pixels")
    for name in ("scale_range", "validation_scales"):
        if cfg.data.get(name) is not None and not isinstance(network, AnyScale):
            raise ValueError(
                f"data.{name}={cfg.data[name]}: {type(network).__name__} has one scale, x{network.scale}; "
                "leave it out, or use a network of any scale, model=esc_lte"
            )
    if scales is not None and compile_mode(cfg.compile):
        raise ValueError(
            f"compile={cfg.compile} makes a step for crops of one size, and data.scale_range={scales} gives "
            "each batch its own: use compile=false"
        )
    if scales is not None and isinstance(loss, AdversarialLoss):
        raise ValueError(f"data.scale_range={scales} does not work with an adversarial loss; use loss=l1")
    if compared is not None and not isinstance(loss, (L1Loss, CharbonnierLoss)):
        raise ValueError(
            f"data.compared_pixels={compared} leaves no image, but single pixels, which "
            f"{type(loss).__name__} cannot compare: use loss=l1 or charbonnier, or compared_pixels=null"
        )


def clips_under_autocast(trainer: Mapping[Any, Any]) -> bool:
    """Lightning's autocast refuses to clip the gradients of an optimizer that unscales them itself."""
    return bool(trainer["gradient_clip_val"]) and str(trainer["precision"]) not in ("32", "32-true")


def _check_shift_schedule(cfg: DictConfig) -> None:
    """The group must reach the network; with its default nothing was asked for."""
    asked, own = cfg.shift_schedule.pattern, cfg.model.get("shift_schedule")
    if asked not in ("alternate", own):
        fault = f"sets model.shift_schedule={own} itself; set that"
        if "shift_schedule" not in cfg.model:
            fault = "has no windows to shift; leave it out"
        raise ValueError(f"shift_schedule.pattern={asked} has no effect: {cfg.model._target_} {fault}")


def single_protocol(protocols: DictConfig) -> ProtocolConfig:
    """The one protocol that validation uses, which must be a function of restored images."""
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


def refuse_overrides(keys: Sequence[str], reason: str) -> None:
    """Refuse typed overrides of ``keys`` (``model`` stands for ``model.dim`` too), which have no effect."""
    for override in typed_overrides():
        key = override.lstrip("+~").partition("=")[0]
        if any(key == refused or key.startswith(f"{refused}.") for refused in keys):
            raise ValueError(f"{override} would have no effect: {reason}")


def check_room(folder: Path, network: Network) -> None:
    """Refuse a folder without room for the first checkpoint: the weights and two moments of each."""
    checkpoints = folder / CHECKPOINTS_FOLDER
    place = checkpoints if checkpoints.exists() else folder
    tempfile.TemporaryFile(dir=place).close()
    learnt = sum(parameter.nbytes for parameter in network.parameters() if parameter.requires_grad)
    needed = sum(tensor.nbytes for tensor in network.state_dict().values()) + 2 * learnt
    free = shutil.disk_usage(place).free
    if free < needed:
        raise ValueError(
            f"a checkpoint needs {needed / 1e6:.1f} MB and {place} has room for {free / 1e6:.1f} MB: make "
            "room, or name another folder with hydra.run.dir=FOLDER"
        )


def check_monitors(
    callbacks: Iterable[object], validation_names: Sequence[str], metrics: Sequence[str]
) -> None:
    """Refuse callbacks with a ``monitor`` that this run, with these validation sets, does not log."""
    logged = [validation_key(metric, name) for name in (None, *validation_names) for metric in metrics]
    logged.append(TRAIN_LOSS)
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        if isinstance(monitor, str) and monitor not in logged:
            raise ValueError(
                f"{type(callback).__name__} monitors {monitor!r}, which this run does not log; there are "
                f"{', '.join(logged)}"
            )


def check_kernels_train(network: Network, device: torch.device) -> None:
    """Refuse to train with kernels that have no gradients."""
    if isinstance(network, AttentionNetwork) and not network.has_gradients(device):
        backend = network.resolved_backend(device)
        raise ValueError(
            f"model.backend={backend} is for inference on a {device.type.upper()}; "
            "train with model.backend=auto, sdpa or reference"
        )
