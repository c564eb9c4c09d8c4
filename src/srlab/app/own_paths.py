"""The paths of a run are its own: they mean the same from whatever folder it is resumed or run once more."""

from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

__all__ = ["PATH_KEYS", "make_paths_absolute"]

#: Keys that name folders or files of the machine, as far as they are given.
PATH_KEYS = (
    "paths.data",
    "paths.cache",
    "paths.run",
    "data.root",
    "data.validation_root",
    "data.cache",
    "initial_weights",
    "checkpoint",
)


def make_paths_absolute(cfg: DictConfig) -> None:
    """Change a configuration in place; relative paths are those of the working directory.

    ``~`` stays. Interpolations stay, too: they follow the key that they name.
    """
    for key in PATH_KEYS:
        above, _, name = key.rpartition(".")
        node = OmegaConf.select(cfg, above) if above else cfg
        if not isinstance(node, DictConfig) or name not in node or OmegaConf.is_interpolation(node, name):
            continue
        with open_dict(node):
            node[name] = _absolute(node[name])


def _absolute(value: object) -> object:
    if isinstance(value, ListConfig):
        return [_absolute(each) for each in value]
    if not isinstance(value, str) or value.startswith("~"):
        return value
    return str(Path(value).absolute())
