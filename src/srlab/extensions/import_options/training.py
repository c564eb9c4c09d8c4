"""Common parts of the option files of all three programs: images, optimizer, schedule, loss, length."""

from collections.abc import Sequence
from typing import Any

from srlab.extensions.import_options.reading import Options

_LOSSES = {"l1": "l1", "l1loss": "l1", "charbonnier": "charbonnier", "charbonnierloss": "charbonnier"}
_OPTIMIZERS = {"adam": "adam", "adamw": "adamw"}
_TEST_SETS = ("set5", "set14", "b100", "bsd100", "urban100", "manga109")


def one_or_list(value: Any) -> Any:
    """A list of one folder as the folder."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def set_images(options: Options, train: tuple[Any, Any], validation: tuple[Any, Any], template: Any) -> None:
    """Folders with (HR, LR) become ``data=paired``; HR alone becomes ``data=folder``."""
    hr, lr = map(one_or_list, train)
    if not hr:
        raise ValueError("the option file names no folder with HR images to train on")
    if any(str(root).endswith(".lmdb") for root in (*_listed(hr), *_listed(lr))):
        raise ValueError(f"{hr}: LMDB files are not read; name the folder of images that it was made from")
    chosen: dict[str, object] = {"data": "folder", "data.root": hr}
    if lr:
        chosen = {"data": "paired", "data.hr_root": hr, "data.lr_root": lr}
        if template not in (None, "{}"):
            chosen["data.lr_name"] = template
    else:
        options.notes.append("there are no LR files for training: LR is made from HR by MATLAB's bicubic")
    options.overrides |= chosen
    _set_validation(options, *map(one_or_list, validation), paired=bool(lr))


def _set_validation(options: Options, hr: Any, lr: Any, *, paired: bool) -> None:
    if not hr or (paired and not lr):
        options.notes.append("no validation images of this kind: one training image in twenty is held out")
        if hr:
            options.leave("validation folder without LR files", hr)
        return
    if paired:
        options.overrides |= {"data.validation_hr_root": hr, "data.validation_lr_root": lr}
    else:
        options.overrides["data.validation_root"] = hr
        if lr:
            options.leave("LR files of the validation folder, since training has none", lr)
    if any(name in str(hr).lower() for name in _TEST_SETS):
        options.notes.append(
            f"{hr} is a test set and would choose best.ckpt: validate on DIV2K's 0801 to 0900 instead, and "
            "score test sets with evaluate.py data=benchmark"
        )


def set_optimizer(options: Options, name: Any, lr: Any, betas: Any, decay: Any) -> None:
    """Optimizer and its numbers; PyTorch's own where the file has none."""
    if (choice := _OPTIMIZERS.get(str(name).lower())) is None:
        options.leave("optimizer", name)
        choice = "adam"
        options.notes.append(f"the optimizer {name} is not here: optimizer={choice}")
    options.overrides["optimizer"] = choice
    if lr is not None:
        options.overrides["optimizer.lr"] = lr
    options.overrides["optimizer.betas"] = [0.9, 0.999] if betas is None else betas
    usual = 0.01 if choice == "adamw" else 0.0  # PyTorch's
    options.overrides["optimizer.weight_decay"] = usual if decay is None else decay


def set_steps_schedule(
    options: Options, milestones: Sequence[int], gamma: Any, warmup: Any, periods: Any, lowest: Any
) -> None:
    """Milestones, or cosine periods of one length, or a constant rate."""
    rise = int(warmup or 0)
    if milestones:
        options.overrides["scheduler"] = "multistep"
        options.overrides["scheduler.milestones"] = list(milestones)
        options.overrides["scheduler.gamma"] = 0.5 if gamma is None else gamma
        if rise > 0:
            options.overrides["scheduler.warmup"] = rise
            rise = 0
    elif periods and len(set(periods)) == 1:
        options.overrides["scheduler"] = "cosine_restarts"
        options.overrides["scheduler.period"] = periods[0]
        options.overrides["scheduler.lowest"] = lowest or 0
    else:
        options.overrides["scheduler"] = "constant"
        if periods:
            options.leave("scheduler periods of different lengths", periods)
    if rise > 0:
        options.leave("warmup of this schedule", rise)


def set_loss(options: Options, name: Any, weight: Any, key: str) -> None:
    """The pixel loss; a weight other than 1 scales gradients."""
    if (choice := _LOSSES.get(str(name).lower())) is None:
        options.leave(f"{key} {name}", weight)
        choice = "l1"
        options.notes.append(f"the loss {name} is not here: loss={choice}")
    options.overrides["loss"] = choice
    if weight not in (None, 1):
        options.leave(f"weight of {key} {name}", weight)


def set_length(options: Options, steps: int, interval: Any) -> None:
    """Steps and the interval of validations, which must divide them."""
    options.overrides["trainer.max_steps"] = steps
    wanted = min(int(interval or 5000), steps)
    chosen = next(each for each in range(wanted, 0, -1) if steps % each == 0)
    options.overrides["validate_every"] = chosen
    if chosen != interval:
        options.notes.append(f"validate_every={chosen} instead of {interval}: it must divide {steps} steps")


def set_average(options: Options, decay: Any) -> None:
    """The moving average of the weights."""
    if decay:
        options.overrides["callbacks"] = "ema"
        options.overrides["callbacks.ema.decay"] = decay


def set_start(options: Options, weights: Any, *, strict: Any, key: str) -> None:
    """Weights to start from, and how strictly they are loaded."""
    if not weights:
        return
    options.overrides["initial_weights"] = weights
    if strict is False:
        options.notes.append(
            f"{key}: false has no counterpart: weights load strictly, except a head of another scale, "
            "which is adapted"
        )


def patch_side(size: Any, scale: int, key: str) -> int:
    """HR pixels to LR pixels."""
    if size is None or size % scale:
        raise ValueError(f"{key}={size} must be a multiple of scale={scale}")
    return size // scale


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
