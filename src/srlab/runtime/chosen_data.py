"""The data module that ``data=NAME`` means on the command line of a run, without a run."""

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from srlab.data.datamodule import SuperResolutionData
from srlab.presets import configuration_folder
from srlab.runtime.application import register

__all__ = ["chosen_data"]


def chosen_data(
    name: str, *, scale: int, patch_size: int, batch_size: int, root: str | None
) -> SuperResolutionData:
    """What ``train.py data=NAME`` would read its crops from; nothing is read yet.

    Args:
        name: a file of ``conf/data``.
        scale: HR side / LR side.
        patch_size: side of a crop in LR pixels.
        batch_size: crops of a batch.
        root: ``data.root`` for those that have one; None: the file's own.

    Raises:
        ValueError: no such data, or data without that option.
    """
    known = sorted(path.stem for path in (configuration_folder() / "data").glob("*.yaml"))
    if name not in known:
        raise ValueError(f"unknown data {name!r}; choose one of {', '.join(known)}")
    register()
    with initialize_config_dir(config_dir=str(configuration_folder()), version_base="1.3", job_name="srlab"):
        cfg = compose("train", overrides=[f"data={name}", f"scale={scale}"])
    if root is not None and "root" not in cfg.data:
        raise ValueError(f"data={name} has no root= to set; data=folder has")
    chosen = {"patch_size": patch_size, "batch_size": batch_size}
    cfg.data.update(chosen if root is None else {**chosen, "root": root})
    return instantiate(cfg.data)
