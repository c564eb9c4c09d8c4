"""Option files of BasicSR and traiNNer-redux (``network_g``, ``datasets``, ``train``, ``val``)."""

from typing import Any

from srlab.extensions.import_options.networks import import_network
from srlab.extensions.import_options.reading import Options
from srlab.extensions.import_options.training import (
    patch_side,
    set_average,
    set_images,
    set_length,
    set_loss,
    set_optimizer,
    set_start,
    set_steps_schedule,
)

# Names, and keys whose value decides nothing here: checkpoints are saved with each validation, images are
# decoded once.
_NAMES = (
    *("name", "dist_params.backend", "dist_params.port", "datasets.train.name"),
    *("datasets.train.dataset_enlarge_ratio", "datasets.train.prefetch_mode", "datasets.train.pin_memory"),
    *("datasets.val.name", "datasets.val.type", "val.suffix", "val.pbar"),
    *("logger.save_checkpoint_freq", "logger.save_checkpoint_format", "logger.save_latest_freq"),
)
# Types that are translated; others have effects beyond their keys.
_TYPES = {
    "model_type": ("srmodel", "swinirmodel"),
    "datasets.train.type": ("pairedimagedataset", "singleimagedataset"),
    "train.scheduler.type": ("multisteplr", "multisteprestartlr", "cosineannealingrestartlr"),
}
# Keys with one value that is as here; another one has no counterpart.
_AS_HERE = {
    "is_train": True,
    "datasets.train.io_backend.type": "disk",
    "datasets.val.io_backend.type": "disk",
    "datasets.train.use_shuffle": True,
    "path.resume_state": None,
    "path.param_key_g": None,
    "path.strict_load_g": True,
    "logger.wandb.resume_id": None,
    "val.val_enabled": True,
    "val.metrics_enabled": True,
}


def import_basicsr(options: Options) -> None:
    """Translate the file.

    Raises:
        ValueError: something that decides what is trained has no counterpart.
    """
    take, overrides = options.take, options.overrides
    name, scale = take("network_g.type"), _scale(options)
    import_network(options, "network_g", str(name), scale)
    overrides["scale"] = scale
    if (seed := take("manual_seed")) is not None:
        overrides["seed"] = seed
    _images(options, scale)
    _batch(options)
    _training(options)
    _validation(options)
    for key in (*_NAMES, *(key for key, value in _AS_HERE.items() if options.values.get(key) == value)):
        take(key)
    for key, types in _TYPES.items():
        if str(options.values.get(key)).lower() in types:
            take(key)
    options.finish()


def _scale(options: Options) -> int:
    upscale = options.values.get("network_g.upscale", options.values.get("network_g.upscaling_factor"))
    scale = options.take("scale", default=upscale)
    if not isinstance(scale, int):
        raise ValueError(f"the option file must say scale (an integer), got {scale!r}")
    return scale


def _images(options: Options, scale: int) -> None:
    take = options.take
    pairs = [
        (take(f"datasets.{part}.dataroot_gt"), take(f"datasets.{part}.dataroot_lq"))
        for part in ("train", "val")
    ]
    template = take("datasets.train.filename_tmpl")
    if (other := take("datasets.val.filename_tmpl")) not in (None, "{}", template):
        options.leave("datasets.val.filename_tmpl", other)
    if template == "{}" and other not in (None, "{}"):
        options.notes.append("names of LR files are matched by the rules of docs/data.md")
    set_images(options, pairs[0], pairs[1], template)
    gt_size, lq_size = take("datasets.train.gt_size"), take("datasets.train.lq_size")
    side = lq_size or patch_side(gt_size, scale, "datasets.train.gt_size")
    options.overrides["data.patch_size"] = side
    flips = take("datasets.train.use_hflip", default=True), take("datasets.train.use_rot", default=True)
    options.overrides["data.augment"] = any(flips)
    if len(set(flips)) > 1:
        options.notes.append(f"use_hflip={flips[0]}, use_rot={flips[1]}: here both or none, data.augment")


def _batch(options: Options) -> None:
    """BasicSR counts samples of one GPU, and so does accum_iter; here the samples of a step count."""
    take = options.take
    devices, share = take("num_gpu", default=1), take("datasets.train.batch_size_per_gpu", default=16)
    accumulate = take("datasets.train.accum_iter", default=1)
    if devices == "auto":
        devices = 1
        options.notes.append("num_gpu: auto is taken as 1; with more multiply data.batch_size, too")
    devices = max(1, int(devices))  # 0: a CPU
    options.overrides["data.batch_size"] = devices * share * accumulate
    options.notes.append(f"data.batch_size: {devices} GPU(s) x {share} x {accumulate} accumulated")
    if devices > 1:
        options.overrides["trainer.devices"] = devices
    if accumulate > 1:
        options.overrides["trainer.accumulate_grad_batches"] = accumulate
    if (workers := take("datasets.train.num_worker_per_gpu")) is not None:
        options.overrides["data.num_workers"] = workers
    if take("use_amp", default=False):
        options.overrides["trainer.precision"] = "bf16-mixed" if take("amp_bf16") else "16-mixed"
    take("amp_bf16")
    if take("fast_matmul", default=False):
        options.overrides["matmul_precision"] = "high"
    if take("use_compile", default=False):
        options.overrides["compile"] = True


def _training(options: Options) -> None:
    take, values = options.take, options.values
    optimizer = [take(f"train.optim_g.{key}") for key in ("type", "lr", "betas", "weight_decay")]
    set_optimizer(options, *optimizer)
    schedule = [take(f"train.scheduler.{key}") for key in ("milestones", "gamma")]
    warmup = take("train.warmup_iter")
    cosine = [take(f"train.scheduler.{key}") for key in ("periods", "eta_min")]
    set_steps_schedule(options, schedule[0] or (), schedule[1], max(0, warmup or 0), *cosine)
    loss, weight = take("train.pixel_opt.type"), take("train.pixel_opt.loss_weight")
    if (reduction := take("train.pixel_opt.reduction")) not in (None, "mean"):
        options.leave("train.pixel_opt.reduction", reduction)
    key, others = "train.pixel_opt", take("train.losses") or []
    if loss is None and others:
        key, (first, *others) = "train.losses", others
        loss, weight = first.get("type"), first.get("loss_weight")
    set_loss(options, loss, weight, key)
    for other in others:
        options.leave(f"{key} {other.get('type')}", other)
    set_average(options, take("train.ema_decay"))
    if take("train.grad_clip", default=False):
        options.overrides["trainer.gradient_clip_val"] = 1.0
        options.notes.append("train.grad_clip: true is taken as clipping to a norm of 1")
    steps = take("train.total_iter")
    if steps is None:
        raise ValueError("the option file must say train.total_iter")
    set_length(options, int(steps), take("val.val_freq"))
    weights, strict = take("path.pretrain_network_g"), take("path.strict_load_g")
    set_start(options, weights, strict=strict, key="path.strict_load_g")
    for key in ("train.optim_g.fused", "train.ema_power"):
        if key in values:
            options.leave(key, take(key))


def _validation(options: Options) -> None:
    take = options.take
    if (interval := take("logger.print_freq")) is not None:
        options.overrides["trainer.log_every_n_steps"] = interval
    tensorboard, project = take("logger.use_tb_logger"), take("logger.wandb.project")
    options.overrides["logger"] = "wandb" if project else "tensorboard" if tensorboard else "csv"
    if project:
        options.overrides["logger.wandb.project"] = project
    metrics = options.below("val.metrics")
    luma = [bool(value) for key, value in metrics.items() if key.endswith(".test_y_channel")]
    borders = {value for key, value in metrics.items() if key.endswith(".crop_border")}
    for key in metrics:
        if key.endswith((".test_y_channel", ".crop_border")) or key in ("psnr.type", "ssim.type"):
            take(f"val.metrics.{key}")
    options.overrides["protocol"] = ["basicsr" if all(luma) else "rgb"]
    scale: Any = options.overrides["scale"]
    if borders - {scale}:
        options.leave("val.metrics crop_border", sorted(borders))
    if take("val.save_img") is False:
        options.overrides["saved_images"] = 0
