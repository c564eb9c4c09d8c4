"""The configuration of a run: completing, saving, loading and comparing it."""

import copy
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException
from yaml import YAMLError

from srlab.app.config import TrainConfig
from srlab.app.launch import Launch, check_shared_name
from srlab.app.list_values import single_values_as_lists
from srlab.app.renamed_keys import migrated
from srlab.atomic_files import atomic_write
from srlab.metrics.protocol import earlier_gray_rule
from srlab.runs.contract import CONFIG_FILE, SCHEMA_KEY, SCHEMA_VERSION
from srlab.runs.folder import RunFolder

#: ``resume=auto``: resume from the newest good state if there is one, else start a new run.
AUTO = "auto"

#: Keys that name folders or files of the machine.
PATH_KEYS = (
    "paths.data",
    "paths.cache",
    "paths.run",
    "data.root",
    "data.validation_root",
    "data.hr_root",
    "data.lr_root",
    "data.validation_hr_root",
    "data.validation_lr_root",
    "data.cache",
    "initial_weights",
    "checkpoint",
)

# Those of PATH_KEYS that may also be the name of a trained network, which no folder changes.
_FILE_OR_NAME = ("initial_weights", "checkpoint")

# What identifies a run at W&B; the environment decides it once, when the run starts.
_IDENTITY = {"project", "entity", "name", "id", "group", "tags"}

# Groups and keys that do not change what a run computes.
_APART = ("paths", "resume", "rerun", "threads")

# Lightning's short names of the precisions that keep the weights in float32.
_SHORT_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}

log = logging.getLogger(__name__)


def run_folder(config: DictConfig) -> Path:
    """The folder that a run writes to: that of the run it resumes, else a new one.

    ``resume=auto`` without ``hydra.run.dir=…`` takes an unfinished run of the same configuration next to the
    new folder that no process trains, the last by name; equal configurations end in the same weights.

    Args:
        config: as Hydra composed it, ``hydra`` included.

    Raises:
        OSError: there is no run at ``resume`` or ``rerun``.
        ValueError: its configuration cannot be read, or the folder is not the run's own.
    """
    HydraConfig.instance().set_config(config)  # paths.name is the name of the chosen model
    typed = [word.partition("=")[0] for word in config.hydra.overrides.hydra]
    resume, rerun = config.get("resume"), config.get("rerun")
    if resume and resume != AUTO:
        own = named_run(Path(resume))
        if "hydra.run.dir" in typed and Path(config.hydra.run.dir).resolve() != own.resolve():
            raise ValueError(
                f"hydra.run.dir={config.hydra.run.dir}: a resumed run writes to its own folder, {own}: leave "
                "it out, or move the folder before"
            )
        return own
    if rerun:
        with read_write(config):
            config.paths.name = load_config(named_run(Path(rerun), key="rerun")).paths.name
    new_run = Path(config.hydra.run.dir)
    if "hydra.run.dir" in typed:
        return new_run
    check_shared_name()
    # processes that were started apart must not choose apart: theirs is the folder of their shared name
    may_resume = resume == AUTO and not rerun and not Launch.of().is_one_of_several and not new_run.exists()
    return (_unfinished_like(config, new_run.parent) if may_resume else None) or new_run


def _unfinished_like(composed: DictConfig, folder: Path) -> Path | None:
    for path in sorted(folder.glob(f"*/{CONFIG_FILE}"), reverse=True):
        run = RunFolder(path.parent)
        if run.is_finished or run.is_running:
            continue
        try:
            if not differing_keys(composed, load_config(run.path)):
                return run.path
        except InterpolationToMissingValueError:
            return None  # the command line is incomplete, and the run itself will report it
        except ValueError:
            continue  # that run cannot be resumed
    return None


def named_run(path: Path, *, key: str = "resume") -> Path:
    """The folder of the run that ``path`` names, by its folder or by one of its checkpoints.

    Raises:
        FileNotFoundError: there is none; ``key`` is what the path was typed for.
    """
    run = RunFolder.containing(path)
    if run is None:
        raise FileNotFoundError(
            f"{key}={path}: no run there (a run's folder holds {CONFIG_FILE}); name the folder that train.py "
            "printed, or one of its checkpoints"
        )
    return run.path


def load_config(folder: Path) -> DictConfig:
    """The configuration of the run in ``folder``, with its types; that of srlab 0.1.0 gets today's names.

    Raises:
        ValueError: the file is damaged, or of a later version.
    """
    try:
        return typed_again(OmegaConf.load(folder / CONFIG_FILE))
    except (YAMLError, OmegaConfBaseException, ValueError) as error:
        raise ValueError(f"{folder / CONFIG_FILE} cannot be read: {error}") from error


def typed_again(saved: Any) -> DictConfig:
    """A saved configuration merged into its schema; without a rule for gray images it keeps the older one."""
    plain = OmegaConf.to_container(saved)
    if not isinstance(plain, dict):
        raise ValueError("it is not a mapping")
    version = plain.pop(SCHEMA_KEY, 1)
    if version > SCHEMA_VERSION:
        raise ValueError(f"{SCHEMA_KEY}={version} is of a later srlab; this one reads up to {SCHEMA_VERSION}")
    if version < SCHEMA_VERSION:
        plain = migrated(plain)
    cfg = OmegaConf.merge(OmegaConf.structured(TrainConfig), plain)
    assert isinstance(cfg, DictConfig)
    for protocol in cfg.protocol.values():
        if OmegaConf.is_missing(protocol, "gray"):
            color = protocol.get("color")
            protocol.gray = earlier_gray_rule(color and color.name)
            log.info("%s counts gray images as it did: gray=%s", protocol.name, protocol.gray.name)
    OmegaConf.set_struct(cfg, True)
    return cfg


def save_config(cfg: DictConfig, folder: Path) -> None:
    """Write ``config.yaml`` atomically.

    What belongs to the moment and the machine (``paths``) and what identifies the run at W&B is resolved.
    Other interpolations stay, so that a schedule still spans ``trainer.max_steps`` when a resumed run changes
    that.
    """
    saved = copy.deepcopy(cfg)
    OmegaConf.resolve(saved.paths)
    finish(saved)
    plain: Any = OmegaConf.to_container(saved, enum_to_str=True)
    with atomic_write(folder / CONFIG_FILE) as partial:
        OmegaConf.save(OmegaConf.create({SCHEMA_KEY: SCHEMA_VERSION, **plain}), partial)


def finish(cfg: DictConfig) -> None:
    """Complete a composed or loaded configuration in place; doing it twice changes nothing.

    Single values become lists where lists are expected, paths become absolute, the environment's identity of
    the run at W&B is fixed, and the interval of validations is at most the run.

    Raises:
        ValueError: a list has values of another number or kind than its annotation says.
    """
    single_values_as_lists(cfg)
    _make_paths_absolute(cfg)
    for logger in trackers(cfg).values():
        for key in _IDENTITY & logger.keys():
            logger[key] = logger[key]
    if "trainer" in cfg:
        precision = str(cfg.trainer.precision)
        cfg.trainer.precision = _SHORT_PRECISIONS.get(precision, precision)
        if isinstance(cfg.trainer.max_steps, int) and isinstance(cfg.validate_every, int):
            # a run that is shorter than the interval is validated and saved at its end
            cfg.validate_every = min(cfg.validate_every, cfg.trainer.max_steps)


def _make_paths_absolute(cfg: DictConfig) -> None:
    """Paths mean the same from whatever folder a run is resumed; ``~`` and interpolations stay."""
    for key in PATH_KEYS:
        above, _, name = key.rpartition(".")
        node = OmegaConf.select(cfg, above) if above else cfg
        if not isinstance(node, DictConfig) or name not in node or OmegaConf.is_interpolation(node, name):
            continue
        if key not in _FILE_OR_NAME or Path(str(node[name])).exists():
            node[name] = _absolute(node[name])


def _absolute(value: object) -> object:
    if isinstance(value, ListConfig):
        return [_absolute(each) for each in value]
    if not isinstance(value, str) or value.startswith("~"):
        return value
    return str(Path(value).absolute())


def trackers(cfg: DictConfig) -> dict[str, DictConfig]:
    """Loggers by name that belong to a tracker of runs: those with an ``id``."""
    loggers = cfg.get("logger", {}).items()
    return {name: logger for name, logger in loggers if logger is not None and "id" in logger}


def flat(cfg: DictConfig, *, resolve: bool = True) -> dict[str, Any]:
    """Dotted keys and their values, after interpolation if ``resolve``; lists are values."""
    items = dotted_items(OmegaConf.to_container(cfg, resolve=resolve, enum_to_str=True))
    return {key: value for key, value in items if not isinstance(value, Mapping)}


def dotted_items(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of the values in plain containers, and of the mappings that contain them."""
    for key, value in node.items():
        yield f"{prefix}{key}", value
        if isinstance(value, Mapping):
            yield from dotted_items(value, f"{prefix}{key}.")


def differing_keys(one: DictConfig, other: DictConfig) -> list[str]:
    """Dotted keys that differ between two runs, except those that do not change what is computed."""
    first, second = _comparable(one), _comparable(other)
    return sorted(
        key for key in first.keys() | second.keys() if first.get(key, first) != second.get(key, second)
    )


def _comparable(cfg: DictConfig) -> dict[str, Any]:
    """Flat, with folders replaced by their names."""
    copied = copy.deepcopy(cfg)
    with open_dict(copied):
        copied.pop("hydra", None)
    finish(copied)
    for key in copied.paths:
        copied.paths[key] = key
    ids = {f"logger.{name}.id" for name in copied.get("logger", {})}
    return {
        key: value
        for key, value in flat(copied).items()
        if key.partition(".")[0] not in _APART and key not in ids
    }
