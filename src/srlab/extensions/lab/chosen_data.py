"""The data module that ``data=NAME`` selects on the command line of train.py, without a run."""

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from srlab.app.application import register
from srlab.app.launch import configuration_folder
from srlab.data.datamodule import SuperResolutionData


def chosen_data(
    name: str, *, scale: int, patch_size: int, batch_size: int, roots: Sequence[str] = ()
) -> SuperResolutionData:
    """The data that ``train.py data=NAME`` would read its crops from, found and decoded.

    Args:
        name: a file of ``conf/data``.
        scale: HR side / LR side.
        patch_size: side of a crop in LR pixels.
        batch_size: crops of a batch.
        roots: ``data.root``, several to join them; none: the file's own.

    Raises:
        ValueError: no such data, no training images, or an option that is unknown or missing.
    """
    known = sorted(path.stem for path in (configuration_folder() / "data").glob("*.yaml"))
    if name not in known:
        raise ValueError(f"unknown data {name!r}; choose one of {', '.join(known)}")
    register()
    with initialize_config_dir(config_dir=str(configuration_folder()), version_base="1.3", job_name="srlab"):
        cfg = compose("train", overrides=[f"data={name}", f"scale={scale}"])
    options = set(cfg.data)  # `in` would not find an option whose value is still missing
    if roots and "root" not in options:
        raise ValueError(f"data={name} has no root= to set; data=folder has")
    cfg.data.update({"patch_size": patch_size, "batch_size": batch_size})
    if roots:
        cfg.data.root = list(roots) if len(roots) > 1 else roots[0]
    missing = sorted(option for option in options if OmegaConf.is_missing(cfg.data, option))
    if missing:
        raise ValueError(f"data={name} needs {', '.join(f'{option}=' for option in missing)}")
    data = instantiate(cfg.data)
    _ = data.training_crops  # finds and decodes
    return data
