"""Option files of KAIR (``netG``, ``datasets``, ``train`` with ``G_`` and ``E_`` keys)."""

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

# Names, and keys that have the same effect here by default.
_IMPLIED = (
    *("task", "model", "dist", "path.root", "datasets.train.name", "datasets.train.dataset_type"),
    *(
        "datasets.train.dataloader_shuffle",
        "datasets.test.name",
        "datasets.test.dataset_type",
        "netG.init_type",
    ),
    *("train.checkpoint_save", "train.G_scheduler_type", "netG.init_bn_type", "netG.init_gain"),
)


def import_kair(options: Options) -> None:
    """Translate the file.

    Raises:
        ValueError: something that decides what is trained has no counterpart.
    """
    take, overrides = options.take, options.overrides
    scale = take("scale", default=options.values.get("netG.upscale"))
    if not isinstance(scale, int):
        raise ValueError(f"the option file must say scale (an integer), got {scale!r}")
    for key in _IMPLIED:
        take(key)
    import_network(options, "netG", str(take("netG.net_type")), scale)
    overrides["scale"] = scale
    if (channels := take("n_channels", default=3)) != 3:
        raise ValueError(f"n_channels={channels}: networks here have three colours")
    train = take("datasets.train.dataroot_H"), take("datasets.train.dataroot_L")
    set_images(options, train, (take("datasets.test.dataroot_H"), take("datasets.test.dataroot_L")), None)
    size = take("datasets.train.H_size")
    overrides["data.patch_size"] = patch_side(size, scale, "datasets.train.H_size")
    overrides["data.batch_size"] = take("datasets.train.dataloader_batch_size", default=16)
    devices = len(take("gpu_ids") or [0])
    options.notes.append("data.batch_size: KAIR's dataloader_batch_size is the sum over all GPUs, as here")
    if devices > 1:
        overrides["trainer.devices"] = devices
    if (workers := take("datasets.train.dataloader_num_workers")) is not None:
        overrides["data.num_workers"] = max(1, workers // devices)
    _training(options)
    options.finish()


def _training(options: Options) -> None:
    take = options.take
    keys = ("type", "lr", "betas", "wd")
    set_optimizer(options, *(take(f"train.G_optimizer_{key}") for key in keys))
    milestones = take("train.G_scheduler_milestones") or []
    set_steps_schedule(options, milestones, take("train.G_scheduler_gamma"), 0, None, None)
    set_loss(options, take("train.G_lossfn_type"), take("train.G_lossfn_weight"), "train.G_lossfn")
    set_average(options, take("train.E_decay"))
    if clip := take("train.G_optimizer_clipgrad"):
        options.overrides["trainer.gradient_clip_val"] = clip
    steps = take("train.total_iter", default=milestones[-1] if milestones else 500_000)
    options.notes.append(f"KAIR trains without end; trainer.max_steps={steps}, its last milestone or 500000")
    set_length(options, int(steps), take("train.checkpoint_test"))
    strict = take("train.G_param_strict"), take("train.E_param_strict")
    set_start(options, take("path.pretrained_netG"), strict=strict[0], key="train.G_param_strict")
    if (interval := take("train.checkpoint_print")) is not None:
        options.overrides["trainer.log_every_n_steps"] = interval
    options.overrides["logger"] = "csv"
